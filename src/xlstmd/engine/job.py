"""A task on its way: admitted, cut into parts, put together again, answered once."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xlstmd.engine.tasks import FloatArray, ForecastResult, ForecastTask
from xlstmd.models.quantile_forecast import QuantileForecast

MS_PER_S = 1000.0


class Job:
    """One admitted task and what has become of it so far."""

    def __init__(
        self, task: ForecastTask, *, answer: "asyncio.Future[ForecastResult]", now: float
    ) -> None:
        """Admits a task.

        Args:
          task: what is asked.
          answer: settled once, with the result or with the error.
          now: monotonic time in seconds.
        """
        self.task = task
        self.answer = answer
        self.admitted_at = now
        self.deadline = None if task.deadline_s is None else now + task.deadline_s
        self.points = task.points
        self.nbytes = task.nbytes
        self.taken = 0
        self._computed = 0
        self._started_at: float | None = None
        self._compute_s = 0.0
        self._whole: QuantileForecast | None = None

    @property
    def key(self) -> tuple[int, tuple[float, ...]]:
        """What tasks must share to be computed together: horizon and quantile levels."""
        return self.task.horizon, self.task.quantile_levels

    @property
    def is_open(self) -> bool:
        """Whether the answer is still wanted and still to be given."""
        return not self.answer.done()

    @property
    def waiting_rows(self) -> int:
        """Rows that no batch has taken yet; none once the job is settled."""
        return self.task.rows - self.taken if self.is_open else 0

    def is_expired(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    @property
    def has_begun(self) -> bool:
        """Whether a computation with its rows has started."""
        return self._started_at is not None

    def begin(self, now: float) -> None:
        """Notes the first computation."""
        if self._started_at is None:
            self._started_at = now

    def spend(self, seconds: float) -> None:
        """Adds the time of a model call that had rows of this job."""
        self._compute_s += seconds

    def store(self, first: int, forecast: QuantileForecast) -> None:
        """Keeps the forecasts of some rows.

        Args:
          first: the job's row that the forecast's row 0 belongs to.
          forecast: of one or more consecutive rows.
        """
        count = len(forecast.mean)
        if self._whole is None:
            if count == self.task.rows:
                self._whole = forecast
                self._computed = count
                return
            self._whole = _blank_like(forecast, self.task.rows)
        whole, rows = self._whole, slice(first, first + count)
        whole.mean[rows], whole.median[rows] = forecast.mean, forecast.median
        whole.quantiles[rows] = forecast.quantiles
        self._computed += count

    @property
    def is_complete(self) -> bool:
        """Whether every row has its forecast."""
        return self._computed == self.task.rows

    def succeed(self, model: str) -> ForecastResult | None:
        """Answers with the forecasts, unless the job is settled already."""
        if self.answer.done() or self._whole is None or self._started_at is None:
            return None
        result = ForecastResult(
            forecast=self._whole,
            model=model,
            queue_ms=MS_PER_S * (self._started_at - self.admitted_at),
            compute_ms=MS_PER_S * self._compute_s,
        )
        self.answer.set_result(result)
        return result

    def fail(self, error: Exception) -> bool:
        """Answers with an error; says whether the job was still open."""
        if self.answer.done():
            return False
        self.answer.set_exception(error)
        return True


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive rows of one job.

    Args:
      job: whose rows.
      first: first row.
      count: number of rows, 1 or more.
    """

    job: Job
    first: int
    count: int

    @property
    def histories(self) -> tuple[FloatArray, ...]:
        """The rows' histories."""
        return self.job.task.histories[self.first : self.first + self.count]


@dataclass(frozen=True, slots=True)
class Batch:
    """Parts that one model call computes; all share their horizon and quantile levels.

    Args:
      parts: one or more.
    """

    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Rows of all parts."""
        return sum(part.count for part in self.parts)

    @property
    def points(self) -> int:
        """Points that the model computes at most: all rows as long as the longest."""
        horizon = self.parts[0].job.task.horizon
        longest = max(len(history) for part in self.parts for history in part.histories)
        return self.rows * (longest + horizon)

    @property
    def histories(self) -> list[FloatArray]:
        """The histories of all rows in order."""
        return [history for part in self.parts for history in part.histories]

    def open_parts(self) -> "Batch | None":
        """Gives what is left without the settled jobs."""
        parts = tuple(part for part in self.parts if part.job.is_open)
        return Batch(parts) if parts else None

    def without(self, goes_alone: Callable[[FloatArray], bool]) -> "list[Batch]":
        """Gives what is left without the rows that may share no batch, then those."""
        others: list[Part] = []
        alone: list[Part] = []
        for part in self.parts:
            first = part.first
            for row, history in enumerate(part.histories, start=part.first):
                if goes_alone(history):
                    if row > first:
                        others.append(Part(part.job, first, row - first))
                    alone.append(Part(part.job, row, 1))
                    first = row + 1
            end = part.first + part.count
            if end > first:
                others.append(Part(part.job, first, end - first))
        whole = [Batch(tuple(others))] if others else []
        return whole + [Batch((part,)) for part in alone]

    def halves(self) -> tuple["Batch", "Batch"]:
        """Cuts a batch of two or more rows in the middle."""
        left: list[Part] = []
        right: list[Part] = []
        room = self.rows // 2
        for part in self.parts:
            here = min(room, part.count)
            if here:
                left.append(Part(part.job, part.first, here))
            if part.count > here:
                right.append(Part(part.job, part.first + here, part.count - here))
            room -= here
        return Batch(tuple(left)), Batch(tuple(right))


def _blank_like(forecast: QuantileForecast, rows: int) -> QuantileForecast:
    horizon, levels = forecast.quantiles.shape[1:]
    return QuantileForecast(
        mean=np.empty((rows, horizon)),
        median=np.empty((rows, horizon)),
        quantiles=np.empty((rows, horizon, levels)),
        quantile_levels=forecast.quantile_levels,
        mean_method=forecast.mean_method,
    )
