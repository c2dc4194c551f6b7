"""Brings the steps of all sessions of a model to its lane, in batches."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from xlstmd.engine.lane import RESTART_S, Clock, Lane
from xlstmd.engine.orders import TakeSteps
from xlstmd.engine.pace import Pace
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.engine.step_job import MS_PER_S, StepDone, StepJob
from xlstmd.engine.step_queue import StepQueue
from xlstmd.engine.suspects import Suspects
from xlstmd.engine.telemetry import LaneTelemetry
from xlstmd.errors import DeadlineExceeded, LaneDown, ModelFailed

logger = logging.getLogger(__name__)


class StepBatcher:
    """The queue and the batches of one model's sessions.

    Each step is computed into a free slot. Whoever asked for it then exchanges slots, so that a
    step that fails or comes too late has changed nothing. A batch starts as soon as the lane is
    idle and holds what waits then. All methods belong to the event loop.
    """

    def __init__(
        self,
        lane: Lane,
        pool: SlotPool,
        settings: EngineSettings,
        telemetry: LaneTelemetry,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        """Connects a queue with a lane; `start` starts the work."""
        self.pace = Pace()
        self._lane = lane
        self._pool = pool
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock
        self._queue = StepQueue()
        self._suspects = Suspects[SessionKey](clock)
        telemetry.watch_suspects(lambda: self._suspects.alone)
        # Steps of many points between two of their portions, each with its target.
        self._going_on: list[StepJob] = []
        # Steps of suspects, new ones and ones that go on: each keeps the others for one portion.
        self._alone: deque[StepJob] = deque()
        self._was_alone = False
        self._something_waits = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Unfinished steps."""
        return len(self._queue)

    @property
    def waiting_points(self) -> int:
        """Points of unfinished steps."""
        return sum(job.points for job in self._queue)

    def start(self) -> None:
        """Starts the batching."""
        name = f"{self._lane.name} steps"
        self._task = asyncio.get_running_loop().create_task(self._work(), name=name)

    async def stop(self) -> None:
        """Stops the batching."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def begin_anew(self, pool: SlotPool) -> None:
        """Computes into the slots of another pool from now on."""
        self._pool = pool
        self.wake()

    def wake(self) -> None:
        """Says that there is a free slot again."""
        self._something_waits.set()

    async def submit(self, job: StepJob) -> StepDone:
        """Queues a step and waits for its answer. A caller that is cancelled leaves the queue.

        Raises:
          DeadlineExceeded: the deadline has passed.
          LaneDown: the lane's worker is dead or hangs.
          InputError: the model refuses the values, or has nothing to forecast from.
          ModelFailed: the model fails on this step, or its worker would.
        """
        self._suspects.check(job.key, job.field)
        job.is_alone = self._suspects.is_alone(job.key)
        self._queue.add(job, is_waiting=not job.is_alone)
        if job.is_alone:
            self._alone.append(job)
        self._something_waits.set()
        timer = None
        if job.deadline is not None:
            left = max(0.0, job.deadline - self._clock())
            timer = asyncio.get_running_loop().call_later(left, self._expire, job)
        try:
            return await job.answer
        except asyncio.CancelledError:
            self._telemetry.cancelled.inc()
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._queue.leave(job)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Fails all unfinished steps."""
        for job in self._queue:
            job.fail(make_error())

    def _expire(self, job: StepJob) -> None:
        stage = "compute" if job.has_begun else "queue"
        if job.fail(DeadlineExceeded("no answer before the deadline")):
            self._telemetry.missed(stage)

    async def _work(self) -> None:
        while True:
            self._something_waits.clear()
            batch = self._next_batch()
            if not batch:
                await self._something_waits.wait()
                continue
            try:
                await self._run(batch)
            except Exception:
                # A fault of ours: it must cost this batch's steps only.
                logger.exception("batch of steps failed")
                for job in batch:
                    job.fail(ModelFailed(job.field, "a step", "an internal error"))
            finally:
                self._put_back(batch)
            # Those who were answered exchange slots before the next batch needs some.
            await asyncio.sleep(0)

    def _next_batch(self) -> list[StepJob]:
        """Takes the next batch: a suspect by itself, and all others together, in turns."""
        turns = (self._take_alone, self._take_together)
        for take in reversed(turns) if self._was_alone else turns:
            batch = take()
            if batch:
                self._was_alone = take == self._take_alone
                return batch
        return []

    def _take_alone(self) -> list[StepJob]:
        """Takes the suspect whose turn it is."""
        while self._alone:
            job = self._alone.popleft()
            if job.is_open:
                return [job]
            self._put_back([job])
        return []

    def _take_together(self) -> list[StepJob]:
        """Takes steps that go on, and as many new ones as there is room for."""
        settings = self._settings
        going_on, self._going_on = self._going_on, []
        self._put_back([job for job in going_on if not job.is_open])
        rows = min(settings.max_batch_rows, self._pool.spare)
        return [job for job in going_on if job.is_open] + self._queue.take(
            max_rows=rows, max_points=settings.max_batch_points
        )

    def _put_back(self, batch: Sequence[StepJob]) -> None:
        """Gives back the targets of steps that do not go on."""
        for job in batch:
            if job.target is not None and job not in (
                self._alone if job.is_alone else self._going_on
            ):
                job.pool.give_back(job.target)
                job.target = None

    async def _run(self, batch: Sequence[StepJob]) -> None:
        now = self._clock()
        for job in batch:
            if job.is_expired(now):
                self._expire(job)
        left = [job for job in batch if job.is_open]
        for job in left:
            if job.target is None:
                job.target = job.pool.take()
        await self._compute(left)

    async def _compute(self, batch: Sequence[StepJob]) -> None:
        started = self._clock()
        jobs = [job for job in batch if job.is_open]
        moves = [job.begin(started, job.target) for job in jobs if job.target is not None]
        if not moves:
            return
        try:
            answers = await self._lane.call(TakeSteps(moves))
            if len(answers) != len(jobs):
                raise RuntimeError(f"model answer: expected {len(jobs)} rows, got {len(answers)}")
        except LaneDown as error:
            if error.had_it:
                self._suspects.note_crash([job.key for job in jobs])
            for job in jobs:
                job.fail(LaneDown(str(error), retry_after_s=RESTART_S))
        except Exception as error:
            await self._isolate(jobs, error)
        else:
            self._deliver(jobs, answers, self._clock() - started)

    async def _isolate(self, jobs: Sequence[StepJob], error: Exception) -> None:
        """Halves a failing batch until the steps that make it fail stand alone."""
        for job in jobs:
            job.restart()
        middle = len(jobs) // 2
        if middle:
            await self._compute(jobs[:middle])
            await self._compute(jobs[middle:])
            return
        self._telemetry.poison_isolated.inc()
        self._suspects.note_failure(jobs[0].key)
        logger.error("model failed", exc_info=error, extra={"model": self._lane.model.identity})
        got = f"{type(error).__name__} from the model"
        jobs[0].fail(ModelFailed(jobs[0].field, "a step", got))

    def _deliver(self, jobs: Sequence[StepJob], answers: Sequence[Any], seconds: float) -> None:
        self._telemetry.compute_seconds.observe(seconds)
        self._telemetry.batch_rows.observe(len(jobs))
        self.pace.note(sum(job.points for job in jobs), seconds)
        now = self._clock()
        for job, answer in zip(jobs, answers, strict=True):
            job.spend(seconds)
            if not job.is_open:
                continue
            if job.is_expired(now):
                self._expire(job)
            elif (fault := job.fault(answer)) is not None:
                if isinstance(fault, ModelFailed):
                    self._telemetry.nonfinite_output.inc()
                    self._suspects.note_failure(job.key)
                job.fail(fault)
            elif job.take_in(answer):
                (self._alone if job.is_alone else self._going_on).append(job)
            else:
                self._suspects.note_success(job.key)
                done = job.succeed()
                self._telemetry.queue_seconds.observe(done.queue_ms / MS_PER_S)
