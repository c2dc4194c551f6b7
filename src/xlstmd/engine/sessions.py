"""The sessions of an engine: streams that are fed step by step, kept, handed over and ended."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from xlstmd.engine.append_request import AppendRequest
from xlstmd.engine.lane import Clock
from xlstmd.engine.policy_steps import PolicySteps
from xlstmd.engine.policy_tasks import PolicyResult, PolicyTask
from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_door import SessionDoor
from xlstmd.engine.session_keeper import SessionKeeper
from xlstmd.engine.session_opener import SessionOpener, unknown
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_record import Ending, SessionKey, SessionRecord
from xlstmd.engine.session_saver import SAVE_ERRORS, SessionSaver
from xlstmd.engine.session_steps import SessionSteps
from xlstmd.engine.session_table import DURABLE, EVERY_STEP, Session
from xlstmd.engine.session_tasks import AppendResult, AppendTask, SessionInfo
from xlstmd.engine.session_telemetry import EVERY_MODEL, SessionTelemetry
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.snapshot import decode_snapshot, encode_snapshot
from xlstmd.engine.store import Store
from xlstmd.engine.tombstones import Tombstones
from xlstmd.errors import (
    InputError,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
    SnapshotDamaged,
)

# Anybody may have written a snapshot: there must be room to count on, also in stores.
LARGEST_SEQ: Final = 2**62
MOST_HASH_BYTES: Final = 64
MOST_FACTS: Final = 8
MOST_FACT_LENGTH: Final = 128


class EngineSessions:
    """Implements `Sessions`. Belongs to the event loop."""

    def __init__(
        self,
        arenas: Mapping[str, SessionArena],
        settings: EngineSettings,
        telemetry: SessionTelemetry,
        *,
        store: Store | None,
        find_model: Callable[[str | None], str],
        check_running: Callable[[], None],
        clock: Clock = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Puts the parts together; `start` starts them.

        Args:
          arenas: by identity of the model.
          settings: bounds.
          telemetry: metric families.
          store: None keeps everything in memory.
          find_model: gives the identity of a model by name or identity, of the default one for
            None; raises `ModelNotFound`.
          check_running: raises `EngineStopped` where no request is to be taken.
          clock: monotonic seconds.
          wall_ns: wall time, to be shown.
        """
        self._parts = SessionParts(
            store=store,
            arenas=arenas,
            settings=settings,
            telemetry=telemetry,
            clock=clock,
            wall_ns=wall_ns,
            tombstones=Tombstones(clock),
        )
        self._check_running = check_running
        self._door = SessionDoor(
            max_requests=settings.max_queue_rows,
            max_bytes=settings.max_queue_bytes,
            expected_s=lambda: max((arena.expected_s for arena in arenas.values()), default=0.0),
            clock=clock,
        )
        self._saver = SessionSaver(self._parts)
        self._opener = SessionOpener(self._parts, self._saver, self._door)
        self._steps = SessionSteps(
            self._parts, self._saver, self._opener, self._door, find_model=find_model
        )
        self._policies = PolicySteps(self._parts, self._steps, find_model=find_model)
        self._keeper = SessionKeeper(self._parts, self._saver, self._opener)
        self._watch()

    async def start(self) -> None:
        """Allocates all slots, in lanes that run, and begins to work."""
        for arena in self._parts.arenas.values():
            await arena.start()
        self._keeper.start()

    async def keep(self) -> None:
        """Does once what the background does: saves, clears, ends idle sessions."""
        await self._keeper.keep()

    def check_lanes(self) -> None:
        """Fails whatever waits for a lane that is down; to be called now and then."""
        for arena in self._parts.arenas.values():
            arena.check_lane()

    async def until_empty(self) -> None:
        """Waits until no request is unfinished."""
        await self._door.until_empty()

    def lose(self, model: str) -> None:
        """Goes back to what the store has of a model's sessions: its worker is gone.

        Args:
          model: identity.
        """
        arena = self._parts.arenas.get(model)
        if arena is not None:
            self._opener.lose(arena)

    async def open(self, model: str) -> None:
        """Allocates the slots in a model's new worker."""
        arena = self._parts.arenas.get(model)
        if arena is not None:
            await arena.open()

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Fails all unfinished appends, as far as they wait for a model or for their turn."""
        self._steps.refuse(make_error)
        for arena in self._parts.arenas.values():
            arena.fail_all(make_error)

    async def stop(self, timeout_s: float) -> None:
        """Brings everything to the store, and stops."""
        await self._opener.stop()
        await self._keeper.stop(timeout_s)
        for arena in self._parts.arenas.values():
            await arena.stop()

    async def append(self, task: AppendTask) -> AppendResult:
        """Takes a step of a stream; see `Sessions.append`."""
        self._check_running()
        request = AppendRequest(task, self._parts.clock())
        return request.result(await self._steps.take(request))

    async def step(self, task: PolicyTask) -> PolicyResult:
        """Takes a step of an episode; see `Sessions.step`."""
        self._check_running()
        return await self._policies.step(task)

    async def info(self, key: SessionKey) -> SessionInfo:
        """Describes a session."""
        self._check_running()
        with self._door.passage():
            found = await self._opener.find(key)
        if isinstance(found, Session):
            return self._info(found)
        return SessionInfo(
            key=key,
            seq=found.seq,
            durable_seq=found.seq,
            nbytes=found.nbytes,
            model=found.model,
            created_ns=found.created_ns,
            used_ns=found.used_ns,
            tier="stored",
        )

    async def end(self, key: SessionKey) -> None:
        """Ends a session; a tombstone stays."""
        self._check_running()
        with self._door.passage():
            await self._end(key)

    async def export(self, key: SessionKey) -> bytes:
        """Gives a snapshot; the session goes on."""
        self._check_running()
        with self._door.passage():
            return await asyncio.to_thread(encode_snapshot, await self._record(key))

    async def take_over(self, key: SessionKey, snapshot: bytes) -> SessionInfo:
        """Goes on from a snapshot, under a key that has no live session.

        Raises:
          SessionConflict: there is a live session.
          SnapshotDamaged: it is no whole snapshot.
          SessionUnknown: the snapshot is of another tenant, or another kind of stream.
          SessionExpired: it was made with other weights.
        """
        self._check_running()
        with self._door.passage(len(snapshot)):
            record = await asyncio.to_thread(decode_snapshot, snapshot)
            if record.key[:2] != key[:2]:
                # No word on whose it is.
                raise unknown(key)
            _check_small(record)
            wall_ns = self._parts.wall_ns()
            created_ns = min(record.created_ns, wall_ns)
            record = replace(record, created_ns=created_ns, used_ns=wall_ns)
            return await self._adopt(record, key)

    async def fork(self, key: SessionKey, target: str) -> SessionInfo:
        """Makes a second session of the same state, under another id of the same tenant."""
        self._check_running()
        with self._door.passage():
            record = await self._record(key)
            wall_ns = self._parts.wall_ns()
            record = replace(record, created_ns=wall_ns, used_ns=wall_ns)
            return await self._adopt(record, key._replace(id=target))

    async def _end(self, key: SessionKey) -> None:
        async with self._parts.turns.of(key):
            found = await self._opener.find(key)
            if isinstance(found, Session):
                await self._opener.end(found, Ending.ENDED)
            else:
                self._parts.tombstones.add(key, Ending.ENDED)
            # Where the store does not take it now, it is offered again.
            with suppress(*SAVE_ERRORS):
                await self._saver.bury()

    async def _record(self, key: SessionKey) -> SessionRecord:
        async with self._parts.turns.of(key):
            found = await self._opener.find(key)
            if isinstance(found, SessionRecord):
                self._opener.arena_of(found)
                return found
            (record,) = await self._parts.arenas[found.model].records([found])
            return record

    async def _adopt(self, record: SessionRecord, key: SessionKey) -> SessionInfo:
        tombstones = self._parts.tombstones
        self._opener.arena_of(record)
        is_durable = record.facts.get(DURABLE) == EVERY_STEP
        if is_durable and self._parts.store is None:
            raise InputError("durable", "nothing without a folder for state (`state_dir`)", "true")
        async with self._parts.turns.of(key):
            with suppress(SessionUnknown, SessionExpired):
                await self._opener.find(key)
                raise SessionConflict(f"session {key.id}: expected none of this id, got a live one")
            session = await self._opener.place(record, key)
            stone = tombstones.find(key)
            tombstones.forget(key)
            try:
                await self._saver.save(session)
            except SAVE_ERRORS:
                is_here = self._parts.table.get(key) is session
                if is_durable and is_here:
                    await self._opener.remove(session)
                if is_durable or not is_here:
                    if stone is not None:
                        tombstones.add(key, stone.reason)
                    raise
            return self._info(session)

    def _info(self, session: Session) -> SessionInfo:
        return SessionInfo(
            key=session.key,
            seq=session.seq,
            durable_seq=session.durable_seq,
            nbytes=self._parts.arenas[session.model].slot_bytes,
            model=session.model,
            created_ns=session.created_ns,
            used_ns=session.used_ns,
            tier="hot",
        )

    def _watch(self) -> None:
        telemetry, store = self._parts.telemetry, self._parts.store
        telemetry.snapshot_age.set_function(lambda: self._saver.oldest_change_s)
        telemetry.requests.set_function(lambda: self._door.requests)
        for arena in self._parts.arenas.values():
            self._watch_arena(arena)
        if store is not None:
            telemetry.watch(
                model=EVERY_MODEL,
                tier="stored",
                count=lambda: store.status().sessions,
                nbytes=lambda: store.status().session_bytes,
            )

    def _watch_arena(self, arena: SessionArena) -> None:
        sessions = self._parts.table.of
        self._parts.telemetry.watch(
            model=arena.name,
            tier="hot",
            count=lambda: len(sessions(arena.model)),
            nbytes=lambda: len(sessions(arena.model)) * arena.slot_bytes,
        )


def _check_small(record: SessionRecord) -> None:
    """Refuses what stays in memory beside a slot, and is not what a session of ours brings.

    Raises:
      SnapshotDamaged: it is something else.
    """
    if not 1 <= record.seq <= LARGEST_SEQ:
        raise SnapshotDamaged(f"a seq of 1 to {LARGEST_SEQ}", str(record.seq))
    if len(record.request_hash) > MOST_HASH_BYTES:
        got = f"{len(record.request_hash)} bytes"
        raise SnapshotDamaged(f"a hash of at most {MOST_HASH_BYTES} bytes", got)
    longest = max((len(text) for fact in record.facts.items() for text in fact), default=0)
    if len(record.facts) > MOST_FACTS or longest > MOST_FACT_LENGTH:
        expected = f"at most {MOST_FACTS} facts of {MOST_FACT_LENGTH} characters"
        raise SnapshotDamaged(expected, f"{len(record.facts)} of up to {longest}")
