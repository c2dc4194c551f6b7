"""Scores the forecaster on the fourteen Chronos-ZS tasks, beside every published model.

    python -m benchmarks.accuracy [--model NAME_OR_PATH] [--context N] [--tasks a,b]
                                  [--baselines-only] [--output FILE]

First the published seasonal naive scores are reproduced; where that fails, nothing else is shown.
All scores of models are relative to seasonal naive, below 1 is better than it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

import xlstmd
from benchmarks.chronos_zs import NOISY, TASKS, PublishedScores, Task, find_tasks
from benchmarks.evaluator import Evaluator, ForecastCall, TaskScores, joined
from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    rows_table,
    write_report,
)
from xlstmd.errors import XlstmdError
from xlstmd.train.metrics import QUANTILE_LEVELS

# Shown task by task; the joined table has all.
PEERS_BY_TASK = ("tirex", "chronos_bolt_base", "chronos_bolt_tiny", "auto_ets", "auto_theta")


class Model(Protocol):
    """What a model must have to be scored here."""

    @property
    def identity(self) -> str:
        """Gives name and version."""

    @property
    def forecast(self) -> ForecastCall:
        """Forecasts histories."""

    def describe(self) -> dict[str, object]:
        """Gives at least `parameters`, their number."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    options = _parser().parse_args(arguments)
    try:
        _run(options, console())
    except (BenchmarkError, XlstmdError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_COULD_NOT_RUN
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="NAME_OR_PATH", help="default: the default forecaster")
    parser.add_argument(
        "--context", type=_context, metavar="N", help="points before the cut to show it"
    )
    parser.add_argument(
        "--tasks", type=_tasks, default=TASKS, metavar="a,b", help="some of the tasks only"
    )
    parser.add_argument("--baselines-only", action="store_true", help="published models only")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="default for a full run: results/accuracy.json"
    )
    return parser


def _tasks(text: str) -> tuple[Task, ...]:
    try:
        return find_tasks(text.split(","))
    except BenchmarkError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _context(text: str) -> int:
    points = int(text)
    if points < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1 point, got {points}")
    return points


def _run(options: argparse.Namespace, out: Console) -> None:
    tasks: tuple[Task, ...] = options.tasks
    evaluator = Evaluator(tasks, context=options.context)
    reproduced = evaluator.reproduce_published()
    rows = list(reproduced)
    scores: list[TaskScores] = []
    label = ""
    if not options.baselines_only:
        model: Model = xlstmd.load_forecaster(options.model)
        label = model.identity
        scores = evaluator.evaluate(model.forecast)
        rows += [_size_row(model), *evaluator.rows(scores)]
    path = options.output
    if path is None and scores and options.context is None and len(tasks) == len(TASKS):
        path = RESULTS / "accuracy.json"
    written = None if path is None else write_report(rows, path).name
    out.print(_reproduction_table(tasks, reproduced))
    goals = [row for row in rows if row.goal is not None]
    if goals:
        out.print(rows_table(goals, f"{label}; spread: 95 % of bootstrap draws over the series"))
    out.print(_joined_table(evaluator, scores, label))
    out.print(_task_table(evaluator.published, tasks, scores, label))
    if scores:
        out.print(_coverage_table(scores))
    unwritten = "Not a full run: nothing was written (--output FILE writes it)."
    out.print(unwritten if written is None else f"Wrote {written}.")


def _size_row(model: Model) -> Row:
    parameters = model.describe()["parameters"]
    if not isinstance(parameters, int):
        raise BenchmarkError(f"parameters: expected a number, got {parameters!r}")
    return Row(
        id=f"{model.identity}-parameters", value=parameters, unit="parameters", better="lower"
    )


def _reproduction_table(tasks: Sequence[Task], rows: Sequence[Row]) -> Table:
    table = Table(title="Seasonal naive: here and as published", title_justify="left")
    table.add_column("task", no_wrap=True)
    for heading in ("MASE", "published", "WQL", "published", "difference", "allowed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for task, mase, wql in zip(tasks, rows[0::2], rows[1::2], strict=True):
        scores = [f"{value:.5f}" for value in (mase.ours, mase.peer, wql.ours, wql.peer)]
        difference = max(mase.parity or 0.0, wql.parity or 0.0)
        table.add_row(task.name, *scores, f"{difference:.1e}", f"{task.tolerance:.1e}")
    return table


def _joined_table(evaluator: Evaluator, scores: Sequence[TaskScores], label: str) -> Table:
    """Ranks all models by WQL; where a noisy task is among them, also without it."""
    tasks, published = evaluator.tasks, evaluator.published
    groups = [tasks, tuple(task for task in tasks if task.name != NOISY)]
    if not 0 < len(groups[1]) < len(tasks):
        groups.pop()
    table = Table(title="Relative to seasonal naive, geometric means", title_justify="left")
    table.add_column("model", no_wrap=True)
    for group in groups:
        table.add_column(f"WQL of {len(group)}", justify="right", no_wrap=True)
        table.add_column(f"MASE of {len(group)}", justify="right", no_wrap=True)
    table.add_column("trained on", justify="right", no_wrap=True)
    table.caption = f"trained on: how many of the tasks it had seen; {len(tasks) - 1}: no {NOISY}"
    table.caption_justify = "left"
    lines: list[tuple[float, list[str], str | None]] = []
    for model in published.models:
        pairs = [published.joined(model, group) for group in groups]
        cells = [f"{figure:.3f}" for mase, wql in pairs for figure in (wql, mase)]
        seen = published.count_trained_on(model, tasks)
        lines.append((pairs[0][1], [model, *cells, str(seen or "")], None))
    if scores:
        totals = [joined(group) for _, group in evaluator.groups(scores)]
        cells = [
            f"{figure:.3f} ± {draws.std():.3f}"
            for total in totals
            for figure, draws in ((total.wql, total.wql_draws), (total.mase, total.mase_draws))
        ]
        table.caption += "; ±: standard deviation of bootstrap draws over the series"
        lines.append((totals[0].wql, [label, *cells, ""], "bold green"))
    for _, cells, style in sorted(lines, key=lambda line: line[0]):
        table.add_row(*cells, style=style)
    return table


def _task_table(
    published: PublishedScores, tasks: Sequence[Task], scores: Sequence[TaskScores], label: str
) -> Table:
    table = Table(title="MASE / WQL relative to seasonal naive, by task", title_justify="left")
    table.add_column("task", no_wrap=True)
    for heading in ([label] if scores else []) + [*PEERS_BY_TASK, "best zero-shot"]:
        table.add_column(heading, justify="right", no_wrap=True)
    peers = {model: published.relative(model, tasks) for model in PEERS_BY_TASK}
    best_mase, best_wql = published.best_zero_shot(tasks)
    for index, task in enumerate(tasks):
        cells = [f"{mase[index]:.3f} / {wql[index]:.3f}" for mase, wql in peers.values()]
        cells.append(f"{best_mase[index]:.3f} / {best_wql[index]:.3f}")
        if scores:
            score = scores[index]
            cells.insert(0, f"{score.relative_mase:.3f} / {score.relative_wql:.3f}")
        table.add_row(task.name, *cells)
    return table


def _coverage_table(scores: Sequence[TaskScores]) -> Table:
    """Shows how many per cent of the truths lie below each quantile."""
    table = Table(title="Coverage: % of truths below each quantile", title_justify="left")
    table.add_column("task", no_wrap=True)
    for level in QUANTILE_LEVELS:
        table.add_column(f"{100 * level:.0f}", justify="right", no_wrap=True)
    for score in scores:
        table.add_row(score.task.name, *(f"{100 * share:.0f}" for share in score.coverage))
    mean = np.mean([score.coverage for score in scores], axis=0)
    table.add_section()
    table.add_row("mean", *(f"{100 * share:.0f}" for share in mean))
    return table


if __name__ == "__main__":
    sys.exit(main())
