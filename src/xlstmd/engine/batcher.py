"""Brings the tasks of all callers to one lane, in batches."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.job import Batch, Job
from xlstmd.engine.lane import RESTART_S, Clock, Lane
from xlstmd.engine.orders import Forecast, TryOut
from xlstmd.engine.pace import Pace
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.suspects import Suspects
from xlstmd.engine.tasks import ForecastResult, ForecastTask
from xlstmd.engine.telemetry import LaneTelemetry
from xlstmd.engine.waiting import WaitingRoom
from xlstmd.errors import (
    DeadlineExceeded,
    InputError,
    LaneDown,
    ModelFailed,
    Overloaded,
)
from xlstmd.models.quantile_forecast import QuantileForecast

logger = logging.getLogger(__name__)

SHORTEST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0
JITTER: Final = 0.25


class Batcher:
    """The queue and the batches of one model.

    A batch starts as soon as the lane is idle and holds what waits then: batches grow only while
    the lane is busy. All methods belong to the event loop.
    """

    def __init__(
        self,
        lane: Lane,
        settings: EngineSettings,
        telemetry: LaneTelemetry,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        """Connects a model's lane with a queue; `start` starts the work."""
        self.model = lane.model
        self.lane = lane
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        self._pace = Pace()
        # Series that ended the worker, by their bytes: nothing else tells them again.
        self._suspects = Suspects[bytes](clock)
        self._waiting = WaitingRoom(
            max_rows=settings.max_queue_rows, max_bytes=settings.max_queue_bytes
        )
        self._something_waits = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._worker: asyncio.Task[None] | None = None
        self._last_success = clock()
        telemetry.watch(
            depth=lambda: self._waiting.rows,
            nbytes=lambda: self._waiting.nbytes,
            up=lambda: self.is_up,
            heartbeat_age_s=lambda: self.lane.heartbeat_age_s,
            canary_age_s=lambda: self.idle_s,
        )

    @property
    def is_up(self) -> bool:
        """Whether the lane's worker lives and has given a sign lately."""
        return self.lane.is_alive and self.lane.heartbeat_age_s <= self._settings.lane_timeout_s

    @property
    def idle_s(self) -> float:
        """Seconds since the model last computed something well."""
        return self._clock() - self._last_success

    @property
    def waiting_rows(self) -> int:
        """Series of unfinished tasks."""
        return self._waiting.rows

    def start(self) -> None:
        """Starts the batching, on a lane that runs."""
        self._worker = asyncio.get_running_loop().create_task(self._work(), name=self.lane.name)

    async def warm_up(self, task: ForecastTask) -> None:
        """Runs a task on the lane, past the queue and the measurements.

        Raises:
          ModelFailed: the model gave non-finite numbers.
        """
        order = Forecast(task.histories, task.horizon, task.quantile_levels)
        forecast = await self.lane.call(order)
        if not _finite_rows(forecast).all():
            raise ModelFailed("series[0]", "a finite forecast of the warm-up series", "non-finite")
        self._last_success = self._clock()

    async def try_out(self) -> None:
        """Lets a policy take a step of its own, past the queue; raises what the model raises."""
        await self.lane.call(TryOut())
        self._last_success = self._clock()

    async def submit(self, task: ForecastTask) -> ForecastResult:
        """Queues a task and waits for its answer. A caller that is cancelled leaves the queue.

        Raises:
          Overloaded: there is no room, or will be none soon enough.
          DeadlineExceeded: the deadline cannot be kept, or has passed.
          LaneDown: the lane's worker is dead or hangs.
          InputError: the model refuses a series.
          ModelFailed: the model fails on a series.
        """
        loop = asyncio.get_running_loop()
        job = Job(task, answer=loop.create_future(), now=self._clock())
        self._check_door(job)
        if self._suspects:
            for row, history in enumerate(task.histories):
                self._suspects.check(digest(history), f"series[{row}].values")
        self._waiting.admit(job)
        self._is_empty.clear()
        self._something_waits.set()
        timer = None
        if task.deadline_s is not None:
            timer = loop.call_later(task.deadline_s, self._expire, job)
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._telemetry.cancelled.inc()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting.leave(job)
            if not self._waiting:
                self._is_empty.set()

    def check_lane(self) -> None:
        """Fails all tasks of a lane that is down; to be called now and then."""
        if self.is_up:
            return
        for job in self._waiting:
            job.fail(self._lane_down())

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Fails all unfinished tasks."""
        for job in self._waiting:
            job.fail(make_error())

    async def until_empty(self) -> None:
        """Waits until no task is unfinished."""
        await self._is_empty.wait()

    async def stop(self, timeout_s: float) -> None:
        """Stops the batching and the lane; waits at most so long for the lane's current call."""
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        await self.lane.stop(timeout_s)

    def _check_door(self, job: Job) -> None:
        if not self.is_up:
            self._telemetry.rejected("lane_down")
            raise self._lane_down()
        if not self._waiting.has_room(job.task.rows, job.nbytes):
            self._telemetry.rejected("overloaded")
            waiting = sum(other.points for other in self._waiting)
            seconds = self._pace.expected_s(waiting)
            seconds = min(max(seconds, SHORTEST_RETRY_S), LONGEST_RETRY_S)
            # Callers refused together should not come back together.
            seconds *= 1.0 + JITTER * random.random()
            message = f"the queue of {self.model.identity} is full"
            raise Overloaded(message, retry_after_s=seconds)
        if job.task.deadline_s is not None and self._least_s(job) >= job.task.deadline_s:
            self._telemetry.missed("admission")
            raise DeadlineExceeded(f"{job.task.deadline_s:g} s are too short for this task now")

    def _least_s(self, job: Job) -> float:
        # Fair turns: until a task is done, each other gets about as much as it, or all it needs.
        others = sum(min(other.points, job.points) for other in self._waiting)
        return self._pace.at_least_s(job.points + others)

    def _lane_down(self) -> LaneDown:
        return LaneDown(f"the worker of {self.model.identity} is down", retry_after_s=RESTART_S)

    def _expire(self, job: Job) -> None:
        stage = "compute" if job.has_begun else "queue"
        if job.fail(DeadlineExceeded(f"no answer within {job.task.deadline_s:g} s")):
            self._telemetry.missed(stage)

    async def _work(self) -> None:
        while True:
            batch = self._waiting.take(
                max_rows=self._settings.max_batch_rows, max_points=self._settings.max_batch_points
            )
            if batch is None:
                self._something_waits.clear()
                await self._something_waits.wait()
                continue
            try:
                await self._run(batch)
            except Exception:
                # A fault of ours: it must cost this batch's tasks only.
                logger.exception("batch failed")
                for part in batch.parts:
                    job = part.job
                    job.fail(
                        ModelFailed(f"series[{part.first}]", "a forecast", "an internal error")
                    )

    async def _run(self, batch: Batch) -> None:
        now = self._clock()
        for part in batch.parts:
            if part.job.is_expired(now):
                self._expire(part.job)
            elif part.job.is_open:
                part.job.begin(now)
        for part_of_it in self._apart(batch):
            await self._compute(part_of_it)
        for job in {part.job for part in batch.parts}:
            self._finish(job)

    def _apart(self, batch: Batch) -> list[Batch]:
        """Takes the rows that are suspected of ending the worker out of a batch."""
        if not self._suspects:
            return [batch]
        return batch.without(lambda history: self._suspects.is_alone(digest(history)))

    async def _compute(self, batch: Batch) -> None:
        left = batch.open_parts()
        if left is None:
            return
        task = left.parts[0].job.task
        started = self._clock()
        try:
            order = Forecast(left.histories, task.horizon, task.quantile_levels)
            forecast = await self.lane.call(order)
            _check_shape(forecast, left, task)
        except LaneDown as error:
            if error.had_it:
                self._suspects.note_crash([digest(history) for history in left.histories])
            for part in left.parts:
                part.job.fail(LaneDown(str(error), retry_after_s=error.retry_after_s))
        except Exception as error:
            await self._isolate(left, error)
        else:
            self._deliver(left, forecast, self._clock() - started)

    async def _isolate(self, batch: Batch, error: Exception) -> None:
        """Halves a failing batch until the rows that make it fail stand alone."""
        if batch.rows > 1:
            for half in batch.halves():
                await self._compute(half)
            return
        self._telemetry.poison_isolated.inc()
        part = batch.parts[0]
        field = f"series[{part.first}].values"
        if isinstance(error, InputError):
            own = InputError(field, error.expected, error.got, code=error.code)
            part.job.fail(own)
            return
        logger.error("model failed", exc_info=error, extra={"model": self.model.identity})
        part.job.fail(ModelFailed(field, "a forecast", f"{type(error).__name__} from the model"))

    def _deliver(self, batch: Batch, forecast: QuantileForecast, seconds: float) -> None:
        self._telemetry.compute_seconds.observe(seconds)
        self._telemetry.batch_rows.observe(batch.rows)
        self._pace.note(batch.points, seconds)
        finite = _finite_rows(forecast)
        if self._suspects:
            for history in batch.histories:
                self._suspects.note_success(digest(history))
        start = 0
        for part in batch.parts:
            rows = slice(start, start + part.count)
            start += part.count
            part.job.spend(seconds)
            if finite[rows].all():
                part.job.store(part.first, _cut(forecast, rows))
                self._last_success = self._clock()
                continue
            bad = part.first + int(np.argmin(finite[rows]))
            self._telemetry.nonfinite_output.inc(int(np.count_nonzero(~finite[rows])))
            part.job.fail(ModelFailed(f"series[{bad}].values", "a finite forecast", "non-finite"))

    def _finish(self, job: Job) -> None:
        if not job.is_complete:
            return
        if job.is_expired(self._clock()):
            self._expire(job)
            return
        result = job.succeed(self.model.identity)
        if result is not None:
            self._telemetry.queue_seconds.observe(result.queue_ms / 1000.0)


def digest(history: NDArray[np.float64]) -> bytes:
    """Gives a hash of a series, to know it again."""
    return blake2b(history.tobytes(), digest_size=16).digest()


def _finite_rows(forecast: QuantileForecast) -> NDArray[np.bool_]:
    parts = (forecast.mean[..., None], forecast.median[..., None], forecast.quantiles)
    return np.asarray(np.isfinite(np.concatenate(parts, axis=2)).all(axis=(1, 2)))


def _check_shape(forecast: QuantileForecast, batch: Batch, task: ForecastTask) -> None:
    expected = (batch.rows, task.horizon, len(task.quantile_levels))
    if forecast.quantiles.shape != expected or forecast.mean.shape != expected[:2]:
        got = f"{forecast.quantiles.shape}, {forecast.mean.shape}"
        raise RuntimeError(f"model answer: expected shapes {expected}, {expected[:2]}, got {got}")


def _cut(forecast: QuantileForecast, rows: slice) -> QuantileForecast:
    return QuantileForecast(
        mean=forecast.mean[rows],
        median=forecast.median[rows],
        quantiles=forecast.quantiles[rows],
        quantile_levels=forecast.quantile_levels,
        mean_method=forecast.mean_method,
    )
