"""The slots of one model's sessions, and all that is done with them."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from xlstmd.engine.lane import RESTART_S, Clock, Lane
from xlstmd.engine.orders import ClearSlots, ExportSlots, OpenSlots, Order, RestoreSlot
from xlstmd.engine.policy_guards import PolicyGuards
from xlstmd.engine.policy_reply import PolicyReply
from xlstmd.engine.policy_tasks import POLICY
from xlstmd.engine.session_record import SessionRecord
from xlstmd.engine.session_reply import Reply, SessionReply
from xlstmd.engine.session_table import Session
from xlstmd.engine.session_tasks import FORECAST
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.slot_pool import Room, SlotPool
from xlstmd.engine.step_batcher import StepBatcher
from xlstmd.engine.step_job import StepDone, StepJob
from xlstmd.engine.store import GROUP_BYTES
from xlstmd.engine.telemetry import LaneTelemetry
from xlstmd.errors import LaneDown, SnapshotDamaged

# Sessions whose bytes are made in one turn of the lane: steps wait for it.
_EXPORTED: Final = 8


class SessionArena:
    """Slots in the lane, and the batches of steps. Belongs to the event loop.

    Whatever is done with slots is put in the lane's line at once and done in that order: a slot
    that is free here may still be read by work that stands before whatever uses it next. All slots
    end with the lane's worker, and with them the pool that counts them.
    """

    def __init__(
        self,
        lane: Lane,
        settings: EngineSettings,
        telemetry: LaneTelemetry,
        *,
        fingerprint: str,
        slot_bytes: int,
        clock: Clock = time.monotonic,
    ) -> None:
        """Computes how many slots there will be; `start` allocates them.

        Args:
          lane: in which the model runs.
          settings: bounds.
          telemetry: of the lane.
          fingerprint: see `ModelFacts`.
          slot_bytes: see `ModelFacts`.
          clock: monotonic seconds.
        """
        self.model = lane.model.identity
        guards = lane.model.guards
        self.guards = None if guards is None else PolicyGuards(guards)
        self.surface = FORECAST if guards is None else POLICY
        self.name = lane.model.name
        self.fingerprint = fingerprint
        self.slot_bytes = slot_bytes
        self._rooms = settings.session_slots(self.slot_bytes)
        self._spares = min(settings.max_batch_rows, self._rooms)
        self.slots = self._rooms + self._spares
        self.pool = SlotPool(self._rooms, self._spares)
        self.group = max(1, min(_EXPORTED, GROUP_BYTES // self.slot_bytes))
        self.telemetry = telemetry
        self._lane = lane
        self._timeout_s = settings.lane_timeout_s
        self._clock = clock
        self._batcher = StepBatcher(lane, self.pool, settings, telemetry, clock=clock)
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
        await self.open()
        self._batcher.start()

    async def open(self) -> None:
        """Allocates the slots in a worker that has none."""
        await self._call(OpenSlots(self.slots))

    async def stop(self) -> None:
        """Stops the batching."""
        await self._batcher.stop()

    def lose(self) -> None:
        """Forgets all slots, and fails whatever waits: the worker that held them is gone."""
        self.pool = SlotPool(self._rooms, self._spares)
        self._batcher.begin_anew(self.pool)
        self.fail_all(self.down)

    def check_lane(self) -> None:
        """Fails whatever waits for a lane that is down; to be called now and then."""
        if not self.is_up:
            self.fail_all(self.down)

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
            raise self.down()
        done = await self._batcher.submit(job)
        self.check_pool(job.pool)
        return done

    def check_pool(self, pool: SlotPool) -> None:
        """Makes sure that slots of a pool still hold what they held.

        Raises:
          LaneDown: the worker that held them is gone.
        """
        if pool is not self.pool:
            raise self.down()

    def finish(self, job: StepJob) -> None:
        """Takes back the slot that a job holds."""
        slot, job.slot = job.slot, None
        if slot is not None:
            job.pool.give_back(slot)
            self._batcher.wake()

    def vacate(self, slot: int) -> None:
        """Takes back the room and the slot of a session."""
        self.pool.vacate(slot)
        self._batcher.wake()

    def check_reply(self, reply: Reply) -> None:
        """Makes sure that a stored reply can be one of this model.

        Raises:
          SnapshotDamaged: it cannot.
        """
        if self.guards is None:
            fits = isinstance(reply, SessionReply)
        elif isinstance(reply, PolicyReply):
            fits = reply.actions.shape[1] == self.guards.num_actions
        else:
            fits = False
        if not fits:
            raise SnapshotDamaged(f"a reply of {self.model}", "another one")

    async def records(self, sessions: Sequence[Session]) -> list[SessionRecord]:
        """Gives sessions as they are now, whatever happens to them meanwhile."""
        now = self._clock()
        frames = [session.record(now, self.fingerprint) for session in sessions]
        payloads = await self._call(ExportSlots([session.slot for session in sessions]))
        return [
            replace(frame, payload=payload) for frame, payload in zip(frames, payloads, strict=True)
        ]

    async def restore(self, payload: bytes, room: Room) -> int:
        """Puts a stream into a slot, for which the caller has reserved a room.

        Raises:
          SnapshotDamaged: the payload is none of this model.
          LaneDown: the worker is gone, with the room.
        """
        self.check_pool(room.pool)
        slot = room.pool.take()
        try:
            await self._call(RestoreSlot(slot, payload))
            self.check_pool(room.pool)
        except BaseException:
            room.pool.give_back(slot)
            raise
        return slot

    async def sweep(self) -> None:
        """Clears the free slots, if there is a worker that has them."""
        slots = self.pool.sweep()
        if slots:
            with suppress(LaneDown):
                await self._call(ClearSlots(slots))

    async def _call(self, order: Order) -> Any:
        answer = self._lane.call(order)
        self._calls.add(answer)
        try:
            return await answer
        finally:
            self._calls.discard(answer)

    def down(self) -> LaneDown:
        """Makes the error for whoever needs a worker that is gone."""
        return LaneDown(f"the worker of {self.model} is down", retry_after_s=RESTART_S)
