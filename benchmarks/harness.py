"""What every benchmark shares: rows, the machine they were measured on, a table and a JSON file.

A result file has `machine`, `commit`, `date` and `rows`; each row has all fields of `Row`, null
where one does not apply. A row whose result is not the peer's (`parity` above `tolerance`) cannot
be made, so a figure whose parity fails is never shown.
"""

import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

EXIT_COULD_NOT_RUN = 4

PACKAGES = ("numpy", "torch", "litestar", "uvicorn")


class BenchmarkError(Exception):
    """A benchmark cannot give a figure; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measured figure.

    Args:
      id: stable name, unique in a file.
      value: the figure, in `unit`.
      unit: `ratio` means above 1 is ahead of the peer; any other unit is read by `better`.
      better: which way is better.
      goal: what is wanted of `value`; None without one.
      ours: our side of the figure in its natural unit.
      peer: the other side in the same unit.
      peer_name: who the other side is, with its version.
      spread: interval around `value`; the benchmark says of what.
      parity: difference of our result from the peer's on the same inputs.
      tolerance: largest parity at which the figure means something.
    """

    id: str
    value: float
    unit: str
    better: Literal["higher", "lower"]
    goal: float | None = None
    ours: float | None = None
    peer: float | None = None
    peer_name: str | None = None
    spread: tuple[float, float] | None = None
    parity: float | None = None
    tolerance: float | None = None

    def __post_init__(self) -> None:
        """Refuses a figure that is not a number or whose parity fails."""
        if not math.isfinite(self.value):
            raise BenchmarkError(f"{self.id}: expected a finite figure, got {self.value}")
        if self.parity is None:
            return
        # A parity that is NaN fails as well.
        if self.tolerance is None or not self.parity <= self.tolerance:
            raise BenchmarkError(
                f"{self.id}: expected the peer's result within {self.tolerance}, "
                f"got a difference of {self.parity:.3g}"
            )

    @property
    def reached(self) -> bool | None:
        """Says whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "higher" else self.value <= self.goal


def machine() -> dict[str, object]:
    """Describes the machine without naming it: processor, memory, system, versions, load."""
    pages, page_bytes = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages * page_bytes / 2**30, 1),
        "os": _system(),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "load_1min": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Gives the measured commit; `-dirty` follows where files other than results differ from it."""
    head = _git("rev-parse", "--verify", "HEAD")
    if head is None:
        return "uncommitted"
    status = _git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return head if status == "" else f"{head}-dirty"


def report(rows: Sequence[Row]) -> dict[str, object]:
    """Puts rows together with where, what and when they were measured."""
    ids = [row.id for row in rows]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        raise BenchmarkError(f"rows: expected unique ids, got {', '.join(repeated)} more than once")
    return {
        "machine": machine(),
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "rows": [asdict(row) for row in rows],
    }


def write_report(rows: Sequence[Row], path: Path) -> Path:
    """Writes the report as JSON, whole or not at all, and gives the path."""
    text = json.dumps(report(rows), indent=1, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return path


def rows_table(rows: Sequence[Row], title: str) -> Table:
    """Lays rows out as a table, one line each, numbers aligned."""
    table = Table(title=title, title_justify="left")
    table.add_column("id", no_wrap=True)
    for heading in ("value", "spread", "goal", "ours", "peer"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("peer is")
    for row in rows:
        style = {True: "green", False: "red", None: None}[row.reached]
        spread = "" if row.spread is None else " … ".join(number(edge) for edge in row.spread)
        goal = "" if row.goal is None else f"{'≥' if row.better == 'higher' else '≤'} {row.goal:g}"
        numbers = [number(row.value), spread, goal, number(row.ours), number(row.peer)]
        table.add_row(row.id, *numbers, row.unit, row.peer_name or "", style=style)
    return table


def console() -> Console:
    """Gives the output; wide enough for whole tables where it is not a terminal."""
    plain = Console()
    return plain if plain.is_terminal else Console(width=160)


def number(value: float | None) -> str:
    """Writes a figure with four significant digits, without an exponent where that is readable."""
    if value is None:
        return ""
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 3 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.3g}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = platform.system()
    return f"{name}, {platform.system()} {platform.release()}, {platform.machine()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
