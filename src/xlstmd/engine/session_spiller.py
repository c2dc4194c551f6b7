"""Makes room: sessions that were not used for longest are left to the store alone."""

import asyncio
import logging
from collections.abc import Sequence
from itertools import islice
from typing import Final

from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_saver import SAVE_ERRORS, SessionSaver
from xlstmd.engine.session_table import Session

logger = logging.getLogger(__name__)

# Sessions that are looked at for some that can go; the first ones were not used for longest.
_LOOKED_AT: Final = 256

# Rooms that are kept free where there are many, so that whoever needs one need not wait for the
# disk; when fewer are left, so many sessions leave in one transaction.
_KEPT_FREE: Final = 16
_KEPT_SHARE: Final = 8

# Of few rooms none is kept free.
_LEAST_KEPT: Final = 2


class SessionSpiller:
    """Takes sessions out of memory. Belongs to the event loop."""

    def __init__(self, parts: SessionParts, saver: SessionSaver) -> None:
        """Works on these parts.

        Args:
          parts: shared ones.
          saver: writes what leaves memory.
        """
        self._store = parts.store
        self._arenas = parts.arenas
        self._table = parts.table
        self._turns = parts.turns
        self._telemetry = parts.telemetry
        self._clock = parts.clock
        self._saver = saver
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def look(self, arena: SessionArena) -> None:
        """Begins to make room where little is left."""
        kept = min(_KEPT_FREE, arena.pool.rooms // _KEPT_SHARE)
        is_needed = kept >= _LEAST_KEPT and 2 * arena.pool.free_rooms < kept
        if self._store is None or not is_needed or arena.model in self._tasks:
            return
        task = asyncio.get_running_loop().create_task(self._spill_some(arena, kept))
        self._tasks[arena.model] = task
        task.add_done_callback(lambda _: self._tasks.pop(arena.model, None))

    async def spill_one(self, arena: SessionArena) -> bool:
        """Makes one room; says whether there was a session that could go.

        Raises:
          StoreFull: the store does not take it; likewise the other errors of `SessionSaver.save`.
        """
        victims = self._victims(arena, 1)
        for victim in victims:
            async with self._turns.of(victim.key):
                await self.spill(victim)
        return bool(victims)

    async def spill(self, session: Session) -> None:
        """Leaves a session, whose turn the caller has, to the store alone.

        Raises:
          StoreFull: the store does not take it; likewise the other errors of `SessionSaver.save`.
        """
        if self._is_unsaved(session):
            await self._saver.save(session)
        if self._table.get(session.key) is session:
            arena = self._arenas[session.model]
            self._telemetry.evictions.labels(arena.name, "spilled").inc()
            await self.remove(session)

    async def remove(self, session: Session) -> None:
        """Takes a session out of memory; nothing of it stays there."""
        arena = self._arenas[session.model]
        self._table.remove(session)
        arena.vacate(session.slot)
        await arena.sweep()

    async def stop(self) -> None:
        """Ends what is done in the background."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _spill_some(self, arena: SessionArena, kept: int) -> None:
        try:
            victims = self._victims(arena, kept - arena.pool.free_rooms)
            # One that must be on disk after each step is, unless the disk has refused it.
            unsaved = [one for one in victims if self._is_unsaved(one) and not one.is_durable]
            for start in range(0, len(unsaved), arena.group):
                await self._saver.save_all(arena, unsaved[start : start + arena.group])
            for victim in victims:
                # Whoever was asked meanwhile stays.
                if self._turns.is_free(victim.key) and not self._is_unsaved(victim):
                    async with self._turns.of(victim.key):
                        if self._table.get(victim.key) is victim:
                            await self.spill(victim)
        except SAVE_ERRORS as error:
            logger.warning("no room could be made: %s", error)

    def _victims(self, arena: SessionArena, count: int) -> Sequence[Session]:
        """Gives some sessions that nobody asks anything; those that the store has come first."""
        if self._store is None:
            return ()
        looked_at = islice(self._table.of(arena.model).items(), _LOOKED_AT)
        free = [session for key, session in looked_at if self._turns.is_free(key)]
        return sorted(free, key=self._is_unsaved)[:count]

    def _is_unsaved(self, session: Session) -> bool:
        return session.seq > session.durable_seq or session.is_due(self._clock())
