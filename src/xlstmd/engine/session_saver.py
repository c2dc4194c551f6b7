"""Brings sessions and tombstones to the store, and keeps account of what it holds."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_record import SessionRecord
from xlstmd.engine.session_table import Session
from xlstmd.engine.store import bounded_groups
from xlstmd.errors import LaneDown, Overloaded, StoreFailed

logger = logging.getLogger(__name__)

# What may happen on the way to the store, now and not for good.
SAVE_ERRORS: Final = (StoreFailed, Overloaded, LaneDown)

Pairs = Sequence[tuple[Session, SessionRecord]]


class SessionSaver:
    """Writes sessions, never an older state after a newer one. Belongs to the event loop."""

    def __init__(self, parts: SessionParts) -> None:
        """Works on these parts."""
        self._store = parts.store
        self._arenas = parts.arenas
        self._table = parts.table
        self._tombstones = parts.tombstones
        self._telemetry = parts.telemetry
        self._clock = parts.clock

    @property
    def oldest_change_s(self) -> float:
        """Age of the oldest change that the store does not hold."""
        if self._store is None:
            return 0.0
        since = [one.changed_at for one in self._table if one.seq > one.durable_seq]
        return max(0.0, self._clock() - min(since)) if since else 0.0

    async def save(self, session: Session) -> None:
        """Writes a session as it is now.

        Raises:
          StoreFull: the store takes no writes; likewise the other `SAVE_ERRORS`.
        """
        arena = self._arenas[session.model]
        await self._save(arena, [session], durable=session.is_durable)

    async def save_all(self, arena: SessionArena, sessions: Sequence[Session]) -> None:
        """Writes a group of sessions of one arena as they are now; raises as `save` does."""
        await self._save(arena, sessions, durable=False)

    async def save_first(self, session: Session) -> None:
        """Writes a session that is not in the table yet; raises as `save` does."""
        now = self._clock()
        (record,) = await self._arenas[session.model].records([session])
        await self._write([(session, record)], now, durable=session.is_durable)

    async def save_due(self) -> bool:
        """Writes what changed; stops at the first failure, and says whether there was none."""
        try:
            await self.bury()
            for model, arena in self._arenas.items():
                now = self._clock()
                due = [one for one in self._table.of(model).values() if one.is_due(now)]
                for start in range(0, len(due) if arena.is_up else 0, arena.group):
                    await self._save_apart(arena, due[start : start + arena.group])
        except SAVE_ERRORS:
            return False
        return True

    async def bury(self) -> None:
        """Writes the tombstones that the store does not have; raises as `save` does."""
        if self._store is None:
            return
        for group in bounded_groups(self._tombstones.waiting()):
            # Meanwhile there may be sessions of these keys again.
            stones = [stone for stone in group if self._tombstones.find(stone.key) is stone]
            if not stones:
                continue
            try:
                await asyncio.wrap_future(self._store.commit(stones))
            except StoreFailed:
                self._telemetry.snapshot_errors.inc()
                raise
            for stone in stones:
                self._tombstones.settle(stone)

    async def _save(
        self, arena: SessionArena, sessions: Sequence[Session], *, durable: bool
    ) -> None:
        if self._store is None:
            return
        now = self._clock()
        records = await arena.records(sessions)
        newest = {
            record.key: session
            for session, record in zip(sessions, records, strict=True)
            if self._is_newest(session, record)
        }
        wanted = [record for record in records if record.key in newest]
        for group in bounded_groups(wanted):
            pairs = [(newest[one.key], one) for one in group if isinstance(one, SessionRecord)]
            await self._write(
                [pair for pair in pairs if self._is_newest(*pair)], now, durable=durable
            )

    async def _save_apart(self, arena: SessionArena, sessions: Sequence[Session]) -> None:
        """Writes sessions; one that cannot be written at all keeps no other from it."""
        try:
            await self._save(arena, sessions, durable=False)
        except SAVE_ERRORS:
            raise
        except Exception:
            if len(sessions) == 1:
                logger.exception("a session cannot be written")
                return
            for session in sessions:
                await self._save_apart(arena, [session])

    def _is_newest(self, session: Session, record: SessionRecord) -> bool:
        is_here = self._table.get(session.key) is session and not session.is_leaving
        return is_here and record.seq >= session.writing_seq

    async def _write(self, pairs: Pairs, taken_at: float, *, durable: bool) -> None:
        if self._store is None or not pairs:
            return
        for session, record in pairs:
            session.writing_seq = record.seq
        try:
            records = [record for _, record in pairs]
            await asyncio.wrap_future(self._store.commit(records, durable=durable))
        except BaseException as error:
            for session, _ in pairs:
                session.writing_seq = session.durable_seq
            if not isinstance(error, asyncio.CancelledError):
                self._telemetry.snapshot_errors.inc()
            raise
        for session, record in pairs:
            session.note_saved(record.seq, taken_at)
