"""Measures our speed on this processor against the official packages.

    python -m benchmarks.cpu [--only slstm,mlstm,...] [--seconds N] [--quick]

All candidates have the same weights and inputs and take turns in one process; a result that is not
the official one gives no figure. Figures are ratios of medians, spreads the middle half of the
turns. The machine's own limits are measured in the same run.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import torch
from rich.console import Console

from benchmarks.cpu.chart import draw_chart
from benchmarks.cpu.limits import Limits, measure_limits
from benchmarks.cpu.measure import measure
from benchmarks.cpu.peers import require_peers
from benchmarks.cpu.table import cpu_table, limits_lines
from benchmarks.cpu.timing import Budget
from benchmarks.cpu.workload import Plan
from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    ROOT,
    BenchmarkError,
    Row,
    console,
    machine,
    write_report,
)
from xlstmd.errors import XlstmdError
from xlstmd.ops.native import load_native

# What can be asked for, and the module that gives its work.
GROUPS: Final = {
    "slstm": "slstm_layer",
    "mlstm": "mlstm",
    "lm": "language_model",
    "policy": "policy",
    "tirex": "tirex",
    "training": "training",
    "start": "start_up",
}

PICTURE: Final = ROOT / "docs" / "images" / "cpu.png"
LIMIT_SECONDS: Final = 0.2
STARTS: Final = 7
QUICK: Final = Budget(seconds=3.0, least=3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", type=groups, default=tuple(GROUPS), metavar="GROUPS")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each piece of work")
    parser.add_argument("--threads", type=int, default=2, choices=range(1, 65), metavar="N")
    parser.add_argument("--quick", action="store_true", help="no compiled peers, few turns")
    parser.add_argument("--output", type=Path, default=RESULTS / "cpu.json", metavar="FILE")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    options = parser.parse_args(arguments)
    budget = QUICK if options.quick else Budget(seconds=options.seconds)
    out = console() if console().is_terminal else Console(width=200)
    try:
        require_peers()
        plan = Plan(threads=options.threads, quick=options.quick)
        rows, notes = run(options.only, plan, budget, out)
        out.print(cpu_table(rows))
        for line in (*limits_lines(rows), *notes):
            out.print(line, markup=False, highlight=False)
        out.print(described(options.threads))
        out.print(f"Wrote {write_report(rows, options.output).name}.")
        drawn = draw_chart(rows, described(options.threads), options.picture)
        if drawn is not None:
            out.print(f"Drew {drawn.name}.")
    except (BenchmarkError, XlstmdError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_COULD_NOT_RUN
    return 0


def groups(text: str) -> tuple[str, ...]:
    """Reads names of groups, separated by commas."""
    names = tuple(name for name in text.split(",") if name)
    unknown = [name for name in names if name not in GROUPS]
    if unknown or not names:
        got = ", ".join(unknown) or "none"
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(GROUPS)}, got {got}")
    return names


def run(
    names: Sequence[str], plan: Plan, budget: Budget, out: Console
) -> tuple[list[Row], list[str]]:
    """Measures the groups asked for; gives the rows, and why figures are missing."""
    # What the peers say about themselves is theirs to mend.
    warnings.filterwarnings("ignore")
    torch.set_num_threads(plan.threads)
    rows: list[Row] = []
    notes: list[str] = []
    limits: Limits | None = None
    try:
        limits = measure_limits(plan.threads, LIMIT_SECONDS)
        rows += limits.rows()
    except BenchmarkError as error:
        notes.append(str(error))
    for name in names:
        module = import_module(f"benchmarks.cpu.{GROUPS[name]}")
        # What was compiled before must not count against this group's number of shapes.
        torch._dynamo.reset()
        if name == "start":
            found, said = module.measure_start(budget.least if plan.quick else STARTS)
            rows, notes = rows + found, notes + said
            continue
        for work in module.works(plan):
            out.print(f"{work.id} …")
            outcome = measure(work, budget, limits, plan.threads)
            rows += outcome.rows
            notes += outcome.notes
    return rows, notes


def described(threads: int) -> str:
    """Names processor, threads and our library."""
    facts = machine()
    native = load_native().summary
    return f"{facts['cpu']}, {threads} threads, torch {facts['torch']}, native library {native}"


if __name__ == "__main__":
    sys.exit(main())
