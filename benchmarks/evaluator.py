"""Scores a forecaster on the Chronos-ZS tasks, after proving that the scoring is the published one.

    evaluator = Evaluator()
    rows = evaluator.score(forecaster.forecast)

Anything with the signature of `forecaster.forecast` can be scored, a training checkpoint too. The
scores are for knowing, not for choosing: a choice steered by them would spoil the yardstick.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from benchmarks.chronos_zs import (
    NOISY,
    TASKS,
    PublishedScores,
    Task,
    Window,
    find_data,
    load_published,
    load_window,
)
from benchmarks.harness import BenchmarkError, Row
from xlstmd.train.metrics import (
    QUANTILE_LEVELS,
    Floats,
    SeriesScores,
    bootstrap_ratios,
    coverage,
    geometric_mean,
    repeat_as_quantiles,
    score_series,
    seasonal_naive,
    seasonal_scale,
)

WQL_GOAL = 0.66
MASE_GOAL = 0.82

BOOTSTRAP_DRAWS = 1000
BOOTSTRAP_SEED = 0
SPREAD_PERCENTILES = (2.5, 97.5)

ROWS_PER_CALL = 256


class Forecast(Protocol):
    """What a forecast must carry to be scored."""

    @property
    def median(self) -> Floats:
        """Gives the median, `[S, Z]`."""

    @property
    def quantiles(self) -> Floats:
        """Gives the quantiles, `[S, Z, Q]`."""


ForecastCall: TypeAlias = Callable[[Sequence[Floats], int, Sequence[float]], Forecast]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """One forecaster on one task.

    Args:
      task: what was forecast.
      ours: its scores, series by series.
      naive: those of the seasonal naive forecast.
      coverage: share of truths below each of the nine levels, `[Q]`.
      seconds: time that the forecasts took.
    """

    task: Task
    ours: SeriesScores
    naive: SeriesScores
    coverage: Floats
    seconds: float

    @property
    def relative_mase(self) -> float:
        """Gives MASE divided by that of the seasonal naive forecast."""
        return float(self.ours.mase / self.naive.mase)

    @property
    def relative_wql(self) -> float:
        """Gives WQL divided by that of the seasonal naive forecast."""
        return float(self.ours.wql / self.naive.wql)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Geometric means over several tasks with their bootstrap draws over the series.

    Args:
      mase: relative MASE.
      wql: relative WQL.
      mase_draws: the same under resampling, `[N]`.
      wql_draws: likewise.
    """

    mase: float
    wql: float
    mase_draws: Floats
    wql_draws: Floats


class Evaluator:
    """Holds tasks, windows and published scores; scores any number of forecasters on them."""

    def __init__(self, tasks: Sequence[Task] = TASKS, *, context: int | None = None) -> None:
        """Finds the data; series are read when first needed.

        Args:
          tasks: which tasks to score, at least one.
          context: how many points before the cut a forecaster sees; None: all of them. The MASE
            scale is always taken over the whole history.

        Raises:
          BenchmarkError: files are missing.
        """
        self.tasks = tuple(tasks)
        self.context = context
        self._root = find_data(self.tasks)

    @cached_property
    def published(self) -> PublishedScores:
        """Gives the published scores."""
        return load_published(self._root)

    @cached_property
    def windows(self) -> tuple[Window, ...]:
        """Gives histories and truth of each task."""
        return tuple(load_window(self._root, task) for task in self.tasks)

    @cached_property
    def scales(self) -> tuple[Floats, ...]:
        """Gives the MASE scale of each series of each task."""
        return tuple(
            seasonal_scale(window.histories, task.season)
            for task, window in zip(self.tasks, self.windows, strict=True)
        )

    @cached_property
    def naive(self) -> tuple[SeriesScores, ...]:
        """Gives the scores of the seasonal naive forecast on each task."""
        scores = []
        for task, window, scale in zip(self.tasks, self.windows, self.scales, strict=True):
            point = seasonal_naive(window.histories, task.horizon, task.season)
            quantiles = repeat_as_quantiles(point, len(QUANTILE_LEVELS))
            scores.append(
                score_series(window.truth, point, quantiles, levels=QUANTILE_LEVELS, scale=scale)
            )
        return tuple(scores)

    def reproduce_published(self) -> list[Row]:
        """Compares the seasonal naive scores with the published ones.

        Returns:
          Two rows a task.

        Raises:
          BenchmarkError: a score differs by more than the task's tolerance: series, windows or
            metrics are not the published ones, and no other figure would mean anything.
        """
        rows = []
        for task, scores in zip(self.tasks, self.naive, strict=True):
            for metric, value, table in (
                ("mase", scores.mase, self.published.mase),
                ("wql", scores.wql, self.published.wql),
            ):
                published = table["seasonal_naive"][task.published]
                rows.append(
                    Row(
                        id=f"seasonal-naive-{task.name}-{metric}",
                        value=value,
                        unit=metric.upper(),
                        better="lower",
                        ours=value,
                        peer=published,
                        peer_name="published seasonal naive",
                        parity=abs(value / published - 1.0),
                        tolerance=task.tolerance,
                    )
                )
        return rows

    def evaluate(
        self, forecast: ForecastCall, *, rows_per_call: int = ROWS_PER_CALL
    ) -> list[TaskScores]:
        """Forecasts every task and scores it.

        Args:
          forecast: takes histories, horizon and quantile levels; gives medians and quantiles.
          rows_per_call: most histories in one call.

        Raises:
          BenchmarkError: a forecast has another shape or is not finite. (The metric would leave
            such terms out, which would flatter.)
        """
        scores = []
        for task, window, scale, naive in zip(
            self.tasks, self.windows, self.scales, self.naive, strict=True
        ):
            histories = window.histories
            if self.context is not None:
                histories = tuple(history[-self.context :] for history in histories)
            start = time.perf_counter()
            median, quantiles = _forecast_all(forecast, histories, task, rows_per_call)
            seconds = time.perf_counter() - start
            ours = score_series(
                window.truth, median, quantiles, levels=QUANTILE_LEVELS, scale=scale
            )
            scores.append(
                TaskScores(
                    task=task,
                    ours=ours,
                    naive=naive,
                    coverage=coverage(window.truth, quantiles),
                    seconds=seconds,
                )
            )
        return scores

    def score(self, forecast: ForecastCall, *, rows_per_call: int = ROWS_PER_CALL) -> list[Row]:
        """Proves the metric, scores a forecaster and gives all rows of the benchmark.

        Args:
          forecast: takes histories, horizon and quantile levels; gives medians and quantiles.
          rows_per_call: most histories in one call.

        Raises:
          BenchmarkError: as `reproduce_published` and `evaluate`.
        """
        reproduced = self.reproduce_published()
        scores = self.evaluate(forecast, rows_per_call=rows_per_call)
        return [*reproduced, *self.rows(scores)]

    def rows(self, scores: Sequence[TaskScores]) -> list[Row]:
        """Turns scores into rows: joined, against each published model, by task, coverage."""
        rows = []
        for label, chosen in self.groups(scores):
            total = joined(chosen)
            rows += _joined_rows(label, total, with_goals=len(chosen) == len(TASKS))
            rows += self._published_rows(label, [score.task for score in chosen], total)
        for score in scores:
            rows += _task_rows(score)
        rows += _coverage_rows(np.mean([score.coverage for score in scores], axis=0))
        rows.append(
            Row(
                id="forecast-seconds",
                value=sum(score.seconds for score in scores),
                unit="s",
                better="lower",
            )
        )
        return rows

    def groups(self, scores: Sequence[TaskScores]) -> list[tuple[str, list[TaskScores]]]:
        """Gives the sets over which scores are joined: all tasks, and all without the noisy one."""
        whole = list(scores)
        steady = [score for score in whole if score.task.name != NOISY]
        groups = [(f"joined-{len(whole)}", whole)]
        if 0 < len(steady) < len(whole):
            groups.append((f"joined-{len(steady)}", steady))
        return groups

    def _published_rows(self, label: str, tasks: Sequence[Task], total: Joined) -> list[Row]:
        rows = []
        for model in self.published.models:
            mase, wql = self.published.joined(model, tasks)
            for metric, ours, peer in (("mase", total.mase, mase), ("wql", total.wql, wql)):
                rows.append(
                    Row(
                        id=f"{label}-{metric}-vs-{model}",
                        value=peer / ours,
                        unit="ratio",
                        better="higher",
                        ours=ours,
                        peer=peer,
                        peer_name=f"published {model}",
                    )
                )
        return rows


def joined(scores: Sequence[TaskScores]) -> Joined:
    """Joins tasks: geometric mean of the ratios to seasonal naive, with bootstrap draws."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = [
        bootstrap_ratios(score.ours, score.naive, draws=BOOTSTRAP_DRAWS, rng=rng)
        for score in scores
    ]
    return Joined(
        mase=geometric_mean(np.array([score.relative_mase for score in scores])).item(),
        wql=geometric_mean(np.array([score.relative_wql for score in scores])).item(),
        mase_draws=geometric_mean(np.stack([mase for mase, _ in draws])),
        wql_draws=geometric_mean(np.stack([wql for _, wql in draws])),
    )


def _forecast_all(
    forecast: ForecastCall, histories: Sequence[Floats], task: Task, rows_per_call: int
) -> tuple[Floats, Floats]:
    # Neighbors of like length waste no padding; a row's answer does not depend on them.
    order = np.argsort([len(history) for history in histories], kind="stable")
    shape = (len(histories), task.horizon)
    median = np.full(shape, np.nan)
    quantiles = np.full((*shape, len(QUANTILE_LEVELS)), np.nan)
    for start in range(0, len(order), rows_per_call):
        chosen = order[start : start + rows_per_call]
        answer = forecast([histories[index] for index in chosen], task.horizon, QUANTILE_LEVELS)
        expected = (len(chosen), task.horizon)
        if answer.median.shape != expected or answer.quantiles.shape[:2] != expected:
            raise BenchmarkError(
                f"{task.name}: expected forecasts of shape {expected}, got median "
                f"{answer.median.shape} and quantiles {answer.quantiles.shape}"
            )
        median[chosen] = answer.median
        quantiles[chosen] = answer.quantiles
    if not (np.isfinite(median).all() and np.isfinite(quantiles).all()):
        raise BenchmarkError(f"{task.name}: expected finite forecasts, got NaN or infinity")
    return median, quantiles


def _joined_rows(label: str, total: Joined, *, with_goals: bool) -> list[Row]:
    rows = []
    for metric, value, draws, goal in (
        ("mase", total.mase, total.mase_draws, MASE_GOAL),
        ("wql", total.wql, total.wql_draws, WQL_GOAL),
    ):
        low, high = np.percentile(draws, SPREAD_PERCENTILES).tolist()
        rows.append(
            Row(
                id=f"{label}-{metric}",
                value=value,
                unit=f"relative {metric.upper()}",
                better="lower",
                goal=goal if with_goals else None,
                ours=value,
                peer=1.0,
                peer_name="seasonal naive",
                spread=(low, high),
            )
        )
    return rows


def _task_rows(score: TaskScores) -> list[Row]:
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    mase, wql = bootstrap_ratios(score.ours, score.naive, draws=BOOTSTRAP_DRAWS, rng=rng)
    rows = []
    for metric, ours, peer, draws in (
        ("mase", score.ours.mase, score.naive.mase, mase),
        ("wql", score.ours.wql, score.naive.wql, wql),
    ):
        low, high = np.percentile(draws, SPREAD_PERCENTILES).tolist()
        rows.append(
            Row(
                id=f"{score.task.name}-{metric}",
                value=ours / peer,
                unit=f"relative {metric.upper()}",
                better="lower",
                ours=ours,
                peer=peer,
                peer_name="seasonal naive",
                spread=(low, high),
            )
        )
    return rows


def _coverage_rows(shares: Floats) -> list[Row]:
    return [
        Row(
            id=f"coverage-{level:g}",
            value=100.0 * abs(share - level),
            unit="% points off",
            better="lower",
            ours=100.0 * share,
            peer=100.0 * level,
            peer_name="nominal level",
        )
        for level, share in zip(QUANTILE_LEVELS, shares.tolist(), strict=True)
    ]
