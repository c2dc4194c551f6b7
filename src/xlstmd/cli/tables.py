"""Tables in files: series out of CSV and parquet, forecasts into them."""

import csv
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from xlstmd.cli.options import UsageError
from xlstmd.errors import InputError
from xlstmd.models.columns import MISSING_WORDS
from xlstmd.models.frames import COLUMNS, ID, TIME, VALUE

FIELD: Final = "input"
PIPE: Final = "-"
CSV_ENDINGS: Final = (".csv", ".txt", ".tsv")
PARQUET_ENDINGS: Final = (".parquet", ".pq")
DELIMITERS: Final = (",", ";", "\t")


def read_series(source: str, column: str | None = None) -> pa.Table:
    """Reads series as a long table; text stays text until it is known what it means.

    Args:
      source: path of a CSV or parquet file, `-` for CSV from stdin.
      column: with the values; None takes `y`, or the only column there is.

    Raises:
      InputError: the file cannot be read, or its columns are other ones.
    """
    if source != PIPE and Path(source).suffix.lower() in PARQUET_ENDINGS:
        table = _read_parquet(source)
    else:
        table = _read_csv(_read_bytes(source))
    names = table.column_names
    if column is not None and names.count(column) != 1:
        got = ", ".join(names)[:80] or "none"
        raise InputError(f"{FIELD}.columns", f"{column} once", got, code="missing_field")
    if {ID, TIME} <= set(names):
        value = column or VALUE
        if value not in names:
            expected = f"{value}, or --column with another name"
            got = ", ".join(names)[:80]
            raise InputError(f"{FIELD}.columns", expected, got, code="missing_field")
        return table.select([ID, TIME, value]).rename_columns(list(COLUMNS))
    if column is None and len(names) != 1:
        expected = f"{', '.join(COLUMNS)}, or one column of numbers (--column takes one of several)"
        raise InputError(
            f"{FIELD}.columns", expected, ", ".join(names)[:80] or "none", code="missing_field"
        )
    return _one_series(column or names[0], table.column(column or names[0]))


def check_output(target: str) -> None:
    """Refuses a name whose ending says nothing known.

    Raises:
      UsageError: neither CSV nor parquet.
    """
    known = (*CSV_ENDINGS, *PARQUET_ENDINGS)
    if target != PIPE and Path(target).suffix.lower() not in known:
        raise UsageError(
            f"--output: expected - or a name ending in {', '.join(known)}, got {target}"
        )


def write_table(table: pa.Table, target: str) -> None:
    """Writes a table.

    Args:
      table: long.
      target: path of a CSV or parquet file, `-` for CSV to stdout.

    Raises:
      OSError: it cannot be written.
    """
    ending = Path(target).suffix.lower()
    if target != PIPE and ending in PARQUET_ENDINGS:
        pyarrow.parquet.write_table(table, target)
        return
    separator = "\t" if ending == ".tsv" else ","
    head = separator.join(table.column_names) + "\n"
    options = pyarrow.csv.WriteOptions(
        include_header=False, delimiter=separator, quoting_style=_quoting(table, separator)
    )
    if target == PIPE:
        sys.stdout.buffer.write(head.encode())
        pyarrow.csv.write_csv(_for_text(table), sys.stdout.buffer, options)
        return
    with Path(target).open("wb") as file:
        file.write(head.encode())
        pyarrow.csv.write_csv(_for_text(table), file, options)


def _quoting(table: pa.Table, separator: str) -> str:
    """Quotes ids only where one of them needs it."""
    ids = table.column(ID)
    if not pa.types.is_string(ids.type):
        return "needed"
    special = pc.match_substring_regex(ids, f'["\\r\\n{separator}]')
    return "needed" if pc.any(special).as_py() else "none"


def _for_text(table: pa.Table) -> pa.Table:
    """Writes times without the digits that are zero in all of them."""
    times = table.column(TIME)
    if not pa.types.is_timestamp(times.type):
        return table
    try:
        times = times.cast(pa.timestamp("s", times.type.tz))
    except pa.ArrowInvalid:
        return table
    return table.set_column(table.column_names.index(TIME), TIME, times)


def _one_series(name: str, values: pa.ChunkedArray) -> pa.Table:
    count = len(values)
    ids = pa.array([name]).take(pa.array(np.zeros(count, dtype=np.int64)))
    return pa.table({ID: ids, TIME: pa.array(np.arange(count)), VALUE: values})


def _read_parquet(source: str) -> pa.Table:
    try:
        return pyarrow.parquet.read_table(source)
    except FileNotFoundError:
        raise _unreadable(source, "no such file") from None
    except (OSError, pa.ArrowException) as error:
        got = " ".join(str(error).split())[:80]
        raise InputError(FIELD, "a parquet file", got, code="undecodable") from None


def _read_bytes(source: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if source == PIPE else Path(source).read_bytes()
    except OSError as error:
        raise _unreadable(source, (error.strerror or "an error").lower()) from None
    if not data.strip():
        raise InputError(FIELD, "at least one row", "none", code="empty")
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_csv(data: bytes) -> pa.Table:
    try:
        # The header may be the whole file, so that only its own line is decoded twice.
        line = data.split(b"\n", 1)[0].rstrip(b"\r").decode()
    except UnicodeDecodeError:
        raise InputError(FIELD, "text in UTF-8", "other bytes", code="undecodable") from None
    delimiter = next((mark for mark in DELIMITERS if mark in line), ",")
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [""])]
    is_headless = len(names) == 1 and _is_value(names[0])
    names = [VALUE] if is_headless else names
    # An empty line is a missing value in a single column, and nothing beside several.
    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter, ignore_empty_lines=len(names) > 1, newlines_in_values=len(names) > 1
    )
    # One thread, because several do not know the number of a row that they refuse.
    read = pyarrow.csv.ReadOptions(
        column_names=[str(index) for index in range(len(names))],
        skip_rows=0 if is_headless else 1,
        use_threads=False,
    )
    convert = pyarrow.csv.ConvertOptions(
        column_types={str(index): pa.string() for index in range(len(names))},
        strings_can_be_null=False,
    )
    try:
        table = pyarrow.csv.read_csv(pa.BufferReader(data), read, parse, convert)
    except pa.ArrowInvalid as error:
        got = " ".join(str(error).removeprefix("CSV parse error:").split())[:120]
        raise InputError(FIELD, "CSV in UTF-8", got, code="undecodable") from None
    return table.rename_columns(names)


def _is_value(text: str) -> bool:
    if text.lower() in MISSING_WORDS:
        return True
    try:
        pc.cast(pa.scalar(text), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _unreadable(source: str, why: str) -> InputError:
    return InputError(FIELD, "a readable file", f"{source}: {why}", code="not_found")
