"""Counts the instructions of the native kernels: the same number on a busy machine.

A figure is of one call after the first one, by one thread, as callgrind counts.
Run by `make bench-instructions`.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    number,
    write_report,
)

FILE: Final = RESULTS / "instructions.json"

# The one function of the driver that is counted.
COUNTED: Final = "xlstmd_counted"


def main(driver: Path) -> int:
    """Counts, shows the figures beside the stored ones, and stores them."""
    try:
        before = stored(FILE)
        level = driver_level(driver)
        rows = [
            Row(
                id=f"{level}/{name}", value=count(driver, name), unit="instructions", better="lower"
            )
            for name in names(driver)
        ]
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return EXIT_COULD_NOT_RUN
    console().print(table(rows, before))
    print(write_report(rows, FILE))
    return 0


def names(driver: Path) -> list[str]:
    """Gives the kernels that the driver knows."""
    return _output([str(driver), "--benches"]).split()


def driver_level(driver: Path) -> str:
    """Gives the instruction level that the driver's kernels were built for."""
    return _output([str(driver), "--level"]).strip()


def count(driver: Path, name: str) -> int:
    """Counts the instructions of one call of a kernel."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        _output(
            [
                *("valgrind", "--tool=callgrind", "--collect-atstart=no"),
                *(f"--toggle-collect={COUNTED}", f"--callgrind-out-file={out}"),
                *(str(driver), "--bench", name),
            ]
        )
        return total(name, out.read_text(encoding="utf-8"))


def total(name: str, profile: str) -> int:
    """Reads the number of instructions from callgrind's file.

    Raises:
      BenchmarkError: nothing was counted.
    """
    found = re.search(r"^(?:summary|totals): (\d+)", profile, re.MULTILINE)
    if found is None or int(found[1]) == 0:
        raise BenchmarkError(f"{name}: expected a number of instructions, got none")
    return int(found[1])


def stored(file: Path) -> dict[str, float]:
    """Gives the figures of a result file by id; none without a file."""
    if not file.is_file():
        return {}
    return {row["id"]: row["value"] for row in json.loads(file.read_text(encoding="utf-8"))["rows"]}


def table(rows: list[Row], before: dict[str, float]) -> Table:
    """Lays figures out beside the stored ones; a ratio above 1 means more than then."""
    shown = Table(title="instructions of one call", title_justify="left")
    shown.add_column("kernel", no_wrap=True)
    for heading in ("now", "stored", "ratio"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        old = before.get(row.id)
        ratio = None if old is None else row.value / old
        shown.add_row(row.id, f"{row.value:,}", "" if old is None else f"{old:,}", number(ratio))
    return shown


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkError(f"{command[0]} cannot be run: {error}") from None
    if done.returncode != 0:
        raise BenchmarkError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
