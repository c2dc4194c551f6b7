"""The slots of one model's sessions, and all that is done with them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from xlstmd.engine.lane import RESTART_S, Clock, Lane
from xlstmd.engine.session_record import SessionRecord
from xlstmd.engine.session_table import Session
from xlstmd.engine.session_tasks import StreamModel
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.engine.slot_worker import SlotWorker
from xlstmd.engine.step_batcher import StepBatcher
from xlstmd.engine.step_job import StepDone, StepJob
from xlstmd.engine.store import GROUP_BYTES
from xlstmd.engine.telemetry import LaneTelemetry
from xlstmd.errors import LaneDown

T = TypeVar("T")

# Sessions whose bytes are made in one turn of the lane: steps wait for it.
_EXPORTED: Final = 16


class SessionArena:
    """Slots, their worker in the lane, and the batches of steps. Belongs to the event loop.

    Whatever is done with slots is put in the lane's line at once and done in that order: a slot
    that is free here may still be read by work that stands before whatever uses it next.
    """

    def __init__(
        self,
        model: StreamModel,
        lane: Lane,
        settings: EngineSettings,
        telemetry: LaneTelemetry,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        """Computes how many slots there will be; `start` allocates them."""
        self.model = model.identity
        self.name = self.model.partition("@")[0]
        self.fingerprint = model.fingerprint
        self.slot_bytes = model.slot_bytes
        rooms = settings.session_slots(self.slot_bytes)
        spares = min(settings.max_batch_rows, rooms)
        self.slots = rooms + spares
        self.pool = SlotPool(rooms, spares)
        self.group = max(1, min(_EXPORTED, GROUP_BYTES // self.slot_bytes))
        self.telemetry = telemetry
        self._lane = lane
        self._timeout_s = settings.lane_timeout_s
        self._clock = clock
        self._worker = SlotWorker(model, self.slots)
        self._batcher = StepBatcher(
            lane, self._worker, self.pool, settings, telemetry, model=model.identity, clock=clock
        )
        self._calls: set[asyncio.Future[Any]] = set()

    @property
    def is_up(self) -> bool:
        """Whether the lane's worker lives and has given a sign lately."""
        return self._lane.is_alive and self._lane.heartbeat_age_s <= self._timeout_s

    @property
    def expected_s(self) -> float:
        """Seconds that the waiting steps will take."""
        return self._batcher.pace.expected_s(self._batcher.waiting_points)

    @property
    def waiting(self) -> int:
        """Unfinished steps."""
        return self._batcher.waiting

    async def start(self) -> None:
        """Allocates the slots in a lane that runs, and starts the batching."""
        await self._call(self._worker.open)
        self._batcher.start()

    async def stop(self) -> None:
        """Stops the batching."""
        await self._batcher.stop()

    def check_lane(self) -> None:
        """Fails whatever waits for a lane that is down; to be called now and then."""
        if not self.is_up:
            self.fail_all(self._down)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Fails whatever waits for the lane."""
        self._batcher.fail_all(make_error)
        for answer in tuple(self._calls):
            if not answer.done():
                answer.set_exception(make_error())

    async def step(self, job: StepJob) -> StepDone:
        """Takes a step; see `StepBatcher.submit`. The caller calls `finish`, whatever happened."""
        if not self.is_up:
            self.telemetry.rejected("lane_down")
            raise self._down()
        return await self._batcher.submit(job)

    def finish(self, job: StepJob) -> None:
        """Takes back the slot that a job holds."""
        slot, job.slot = job.slot, None
        if slot is not None:
            self.pool.give_back(slot)
            self._batcher.wake()

    def vacate(self, slot: int) -> None:
        """Takes back the room and the slot of a session."""
        self.pool.vacate(slot)
        self._batcher.wake()

    async def records(self, sessions: Sequence[Session]) -> list[SessionRecord]:
        """Gives sessions as they are now, whatever happens to them meanwhile."""
        now = self._clock()
        frames = [session.record(now, self.fingerprint) for session in sessions]
        slots = [session.slot for session in sessions]
        payloads = await self._call(partial(self._worker.export, slots))
        return [
            replace(frame, payload=payload) for frame, payload in zip(frames, payloads, strict=True)
        ]

    async def restore(self, payload: bytes) -> int:
        """Puts a stream into a slot, for which the caller has reserved a room.

        Raises:
          SnapshotDamaged: the payload is none of this model.
        """
        slot = self.pool.take()
        try:
            await self._call(partial(self._worker.restore, slot, payload))
        except BaseException:
            self.pool.give_back(slot)
            raise
        return slot

    async def sweep(self) -> None:
        """Clears the free slots."""
        slots = self.pool.sweep()
        if slots:
            await self._call(partial(self._worker.clear, slots))

    async def _call(self, work: Callable[[], T]) -> T:
        answer = self._lane.call(work)
        self._calls.add(answer)
        try:
            return await answer
        finally:
            self._calls.discard(answer)

    def _down(self) -> LaneDown:
        return LaneDown(f"the worker of {self.model} is down", retry_after_s=RESTART_S)
