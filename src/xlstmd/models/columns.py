"""The columns of a long frame as arrays: names, numbers and times, from typed values or text."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xlstmd.errors import InputError
from xlstmd.models.calendar import parse_time
from xlstmd.models.grid import DAY, Times
from xlstmd.models.quantile_forecast import FloatArray

# Words that stand for a missing value in text, lower case.
MISSING_WORDS: Final = ("", "nan", "na", "n/a", "null", "none", "<na>", "-", ".")

# What text in a time column may be, the first that fits all of it.
_TEXT_TIMES: Final = (
    pa.int64(),
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
)


def identities(column: pa.Array, field: str) -> tuple[NDArray[np.int64], pa.Array]:
    """Gives the number of each row's series, and the series' ids by first appearance.

    Raises:
      InputError: an id is missing, or ids have a type that names nothing.
    """
    column = _plain(column)
    _refuse_missing(column, field, "an id")
    try:
        encoded = column.dictionary_encode()
    except pa.ArrowException:
        expected = "text or whole numbers"
        raise InputError(field, expected, str(column.type), code="bad_type") from None
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def numbers(column: pa.Array, field: str) -> FloatArray:
    """Gives values as float64, NaN = missing.

    Raises:
      InputError: a value is no number, or infinite.
    """
    column = _plain(column)
    kind = column.type
    if pa.types.is_string(kind):
        column = _numbers_in_text(column, field)
    elif not any(
        check(kind)
        for check in (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_decimal,
            pa.types.is_null,
        )
    ):
        raise InputError(field, "numbers", str(kind), code="bad_type")
    values: FloatArray = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise InputError(
            f"{field}[{row}]", "a finite number or nothing", str(values[row]), code="non_finite"
        )
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A column of times as whole numbers.

    Attributes:
      kind: type of the column; that of whole numbers, dates or timestamps.
      utc: microseconds since 1970, or the whole numbers themselves.
      wall: likewise, as a clock on the wall of the column's time zone shows them; the same array
        where there is none.
    """

    kind: pa.DataType
    utc: Times
    wall: Times

    @classmethod
    def of(cls, column: pa.Array, field: str) -> Self:
        """Reads a column.

        Raises:
          InputError: a time is missing or cannot be read, or the type is another one.
        """
        column = _plain(column)
        if pa.types.is_string(column.type):
            column = _times_in_text(pc.utf8_trim_whitespace(column), field)
        _refuse_missing(column, field, "a time")
        kind = column.type
        try:
            if pa.types.is_integer(kind):
                utc = _whole(column.cast(pa.int64()))
            elif pa.types.is_date(kind) or pa.types.is_timestamp(kind):
                zone = getattr(kind, "tz", None)
                column = column.cast(pa.timestamp("us", zone))
                utc = _whole(column)
                if zone is not None:
                    return cls(kind=kind, utc=utc, wall=_whole(pc.local_timestamp(column)))
            else:
                raise InputError(field, "times or whole numbers", str(kind), code="bad_type")
        except pa.ArrowException as error:
            got = " ".join(str(error).split())[:80]
            raise InputError(field, "times in whole microseconds", got) from None
        return cls(kind=kind, utc=utc, wall=utc)

    @property
    def is_count(self) -> bool:
        """Whether the column holds whole numbers."""
        return bool(pa.types.is_integer(self.kind))

    @property
    def has_zone(self) -> bool:
        """Whether the column has a time zone, so that the two clocks differ."""
        return self.wall is not self.utc

    def times(self, is_wall: bool) -> Times:
        """Gives the times on one of the two clocks."""
        return self.wall if is_wall else self.utc

    def show(self, row: int) -> str:
        """Gives one time for people."""
        if self.is_count:
            return str(self.utc[row])
        time = str(np.datetime64(int(self.utc[row]), "us")).removesuffix(".000000")
        return f"{time}Z" if self.has_zone else time.removesuffix("T00:00:00")

    def column(self, times: Times, is_wall: bool | NDArray[np.bool_]) -> pa.Array:
        """Gives times as a column of the kind; of a finer one where that would lose something.

        Args:
          times: [N].
          is_wall: whether they are those on the wall, for all or for each. A time that the wall
            shows twice is the first of both; one that it skips is the next that exists.

        Raises:
          InputError: a time does not fit into the kind.
        """
        if self.is_count:
            return self._counts(times)
        if pa.types.is_date(self.kind):
            stamps = pa.array(times, pa.timestamp("us"))
            return stamps if (times % DAY).any() else stamps.cast(self.kind)
        if self.has_zone:
            local = pa.array(times, pa.timestamp("us"))
            zoned = pc.assume_timezone(
                local, self.kind.tz, ambiguous="earliest", nonexistent="latest"
            )
            times = np.where(is_wall, _whole(zoned), times)
        stamps = pa.array(times, pa.timestamp("us", self.kind.tz))
        try:
            return stamps.cast(self.kind)
        except pa.ArrowInvalid:
            return stamps

    def _counts(self, times: Times) -> pa.Array:
        try:
            return pa.array(times, pa.int64()).cast(self.kind)
        except pa.ArrowInvalid:
            expected = f"ds that fits into {self.kind}"
            raise InputError("horizon", expected, str(times.max())) from None


def _whole(column: pa.Array) -> Times:
    whole: Times = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return whole


def _plain(column: pa.Array) -> pa.Array:
    """Undoes encodings that say nothing about the values."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _refuse_missing(column: pa.Array, field: str, expected: str) -> None:
    if column.null_count:
        row = int(column.is_null().to_numpy(zero_copy_only=False).argmax())
        raise InputError(f"{field}[{row}]", expected, "nothing", code="missing_field")


def _numbers_in_text(column: pa.Array, field: str) -> pa.Array:
    trimmed = pc.utf8_trim_whitespace(column)
    is_missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(MISSING_WORDS))
    text = pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        row = next(row for row, value in enumerate(text) if not _is_number(value))
        got = repr(text[row].as_py()[:40])
        raise InputError(f"{field}[{row}]", "a number or nothing", got, code="bad_type") from None


def _is_number(value: Any) -> bool:
    try:
        value.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _times_in_text(column: pa.Array, field: str) -> pa.Array:
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    _refuse_missing(column, field, "a time")
    for kind in _TEXT_TIMES:
        try:
            return column.cast(kind)
        except pa.ArrowInvalid:
            continue
    read = [
        parse_time(text, field=f"{field}[{row}]") for row, text in enumerate(column.to_pylist())
    ]
    return pa.array(read, pa.timestamp("us", "UTC"))
