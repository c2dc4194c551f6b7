"""Finds sessions wherever they are, brings them into memory, and makes room for them."""

import asyncio
from typing import Final

from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_door import SessionDoor
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_payload import LAYOUT
from xlstmd.engine.session_record import Ending, SessionKey, SessionRecord, Tombstone
from xlstmd.engine.session_reply import unpack_reply
from xlstmd.engine.session_saver import SessionSaver
from xlstmd.engine.session_spiller import SessionSpiller
from xlstmd.engine.session_table import DURABLE, EVERY_STEP, Session
from xlstmd.engine.slot_pool import Room
from xlstmd.errors import (
    ModelNotFound,
    SessionExpired,
    SessionUnknown,
    SnapshotDamaged,
)

_REASONS: Final = {
    Ending.IDLE: "had no request for too long",
    Ending.EVICTED: "was given up",
    Ending.ENDED: "was ended",
    Ending.MODEL_CHANGED: "was made with other weights",
}


class SessionOpener:
    """Brings sessions from the store into slots and back. Callers have the session's turn."""

    def __init__(self, parts: SessionParts, saver: SessionSaver, door: SessionDoor) -> None:
        """Works on these parts.

        Args:
          parts: shared ones.
          saver: writes what leaves memory.
          door: knows how long those take who find no room.
        """
        self._store = parts.store
        self._arenas = parts.arenas
        self._table = parts.table
        self._tombstones = parts.tombstones
        self._turns = parts.turns
        self._telemetry = parts.telemetry
        self._clock = parts.clock
        self._idle_s = parts.settings.session_idle_s
        self._restores = asyncio.Semaphore(parts.settings.max_restores)
        self._saver = saver
        self._door = door
        self._spiller = SessionSpiller(parts, saver)

    async def find(self, key: SessionKey) -> Session | SessionRecord:
        """Gives a session from memory, or else its record.

        Raises:
          SessionUnknown: there is none.
          SessionExpired: there was one.
          StoreFailed: the store cannot be read.
        """
        session = self._table.get(key)
        if session is not None:
            return session
        found: SessionRecord | Tombstone | None = self._tombstones.find(key)
        if found is None and self._store is not None:
            found = await asyncio.wrap_future(self._store.read(key))
        if found is None:
            raise unknown(key)
        if isinstance(found, Tombstone):
            raise expired(key, found.reason)
        if found.idle_s > self._idle_s:
            raise self._bury(found, Ending.IDLE)
        return found

    async def open(self, key: SessionKey) -> Session:
        """Gives a session in memory; raises as `find` and `place` do."""
        session = self._table.get(key)
        if session is not None:
            return session
        async with self._restores:
            started = self._clock()
            found = await self.find(key)
            if isinstance(found, Session):
                return found
            arena = self.arena_of(found)
            try:
                session = await self.place(found, key)
            except SnapshotDamaged as error:
                raise SessionExpired(
                    f"session {key.id}: its stored state is damaged", reason=Ending.EVICTED
                ) from error
            session.durable_seq = session.writing_seq = session.seq
            self._telemetry.restore_seconds.labels(arena.name).observe(self._clock() - started)
            return session

    def arena_of(self, record: SessionRecord) -> SessionArena:
        """Gives the slots in which a record continues.

        Raises:
          SessionUnknown: its model is not of its surface.
          SessionExpired: it was made with other weights. It stays where it is: whoever started the
            daemon with the wrong ones may start it with the right ones again.
          ModelNotFound: its model is not loaded.
        """
        arena = self._arenas.get(record.model)
        if arena is not None and arena.surface != record.key.surface:
            raise unknown(record.key)
        if arena is not None and arena.fingerprint == record.fingerprint:
            return arena
        name = record.model.partition("@")[0]
        if arena is None and all(one.name != name for one in self._arenas.values()):
            raise ModelNotFound(record.model, tuple(self._arenas))
        raise expired(record.key, Ending.MODEL_CHANGED)

    async def place(self, record: SessionRecord, key: SessionKey) -> Session:
        """Puts a record into a slot, as a session of this key that the store does not hold.

        Raises:
          SnapshotDamaged: its bytes are none of its model.
          Overloaded: there is no slot.
        """
        arena = self._arenas[record.model]
        if record.layout != LAYOUT:
            raise SnapshotDamaged(f"the layout {LAYOUT}", record.layout[:40])
        reply = unpack_reply(record.reply)
        arena.check_reply(reply)
        room = await self.make_room(arena)
        try:
            slot = await arena.restore(record.payload, room)
            room.settle()
        finally:
            room.cancel()
        facts, now = dict(record.facts), self._clock()
        session = Session(
            key=key,
            model=record.model,
            slot=slot,
            seq=record.seq,
            request_hash=record.request_hash,
            reply=reply,
            created_ns=record.created_ns,
            used_ns=record.used_ns,
            used_at=now,
            is_durable=facts.pop(DURABLE, None) == EVERY_STEP,
            facts=facts,
            saved_at=now,
            changed_at=now,
        )
        self._table.put(session)
        return session

    async def make_room(self, arena: SessionArena) -> Room:
        """Gives a room; the session that was not used for longest leaves memory if it must.

        Raises:
          Overloaded: every session is needed here.
          StoreFull: the store does not take the one that could go.
        """
        while True:
            room = arena.pool.reserve()
            if room is not None:
                self._spiller.look(arena)
                return room
            if not await self._spiller.spill_one(arena):
                raise self._door.overloaded(f"all {arena.pool.rooms} slots of sessions are taken")

    async def spill(self, session: Session) -> None:
        """Leaves a session to the store alone; raises as `SessionSaver.save` does."""
        await self._spiller.spill(session)

    async def remove(self, session: Session) -> None:
        """Takes a session out of memory; nothing of it stays there."""
        await self._spiller.remove(session)

    async def stop(self) -> None:
        """Ends what is done in the background."""
        await self._spiller.stop()

    def lose(self, arena: SessionArena) -> None:
        """Leaves all sessions of slots that are gone to the store, as far as it has them."""
        sessions = tuple(self._table.of(arena.model).values())
        for session in sessions:
            self._table.remove(session)
        self._telemetry.evictions.labels(arena.name, "lost").inc(len(sessions))
        arena.lose()

    async def end(self, session: Session, reason: Ending) -> None:
        """Ends a session that is in memory."""
        self._tombstones.add(session.key, reason)
        if reason is not Ending.ENDED:
            name = self._arenas[session.model].name
            self._telemetry.evictions.labels(name, reason.value).inc()
        await self.remove(session)

    def _bury(self, record: SessionRecord, reason: Ending) -> SessionExpired:
        self._tombstones.add(record.key, reason)
        name = record.model.partition("@")[0]
        self._telemetry.evictions.labels(name, reason.value).inc()
        return expired(record.key, reason)


def unknown(key: SessionKey) -> SessionUnknown:
    """Makes the error for a session that nobody knows."""
    return SessionUnknown(f"session {key.id}: there is none of this id")


def expired(key: SessionKey, reason: Ending) -> SessionExpired:
    """Makes the error for a session that is gone."""
    return SessionExpired(f"session {key.id}: it {_REASONS[reason]}", reason=reason.value)
