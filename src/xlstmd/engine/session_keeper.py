"""What is done with sessions while nobody asks: saved, cleared away, ended when idle."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from xlstmd.engine.session_opener import SessionOpener
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_record import Ending
from xlstmd.engine.session_saver import SAVE_ERRORS, SessionSaver
from xlstmd.engine.session_table import Session
from xlstmd.engine.store import GROUP_CHANGES, Store
from xlstmd.errors import SessionExpired, SessionUnknown, StoreFailed, XlstmdError

logger = logging.getLogger(__name__)

# Idle sessions are looked for this often, or more often where they idle shorter.
IDLE_CHECK_S: Final = 60.0

# A session with a larger reply does not stay in memory once the store has it.
LARGE_REPLY_BYTES: Final = 2**16

_RETRY_S: Final = 0.2


class SessionKeeper:
    """The background of sessions. Belongs to the event loop."""

    def __init__(self, parts: SessionParts, saver: SessionSaver, opener: SessionOpener) -> None:
        """Works on these parts; `start` starts."""
        self._store = parts.store
        self._arenas = parts.arenas
        self._table = parts.table
        self._turns = parts.turns
        self._settings = parts.settings
        self._clock = parts.clock
        self._saver = saver
        self._opener = opener
        self._checked_at = parts.clock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the work."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="sessions")

    async def stop(self, timeout_s: float) -> None:
        """Ends the work and brings everything to the store, as far as it takes it by then."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._saver.save_due():
                    await asyncio.sleep(_RETRY_S)
        except TimeoutError:
            left = sum(one.seq > one.durable_seq for one in self._table)
            logger.warning("sessions were not saved", extra={"sessions": left})

    async def keep(self) -> None:
        """Does once what is done again and again."""
        if await self._saver.save_due():
            await self._spill_large()
        for arena in self._arenas.values():
            if arena.is_up:
                await arena.sweep()
        interval = min(IDLE_CHECK_S, self._settings.session_idle_s / 4.0)
        if self._clock() - self._checked_at >= interval:
            self._checked_at = self._clock()
            await self._end_idle()

    async def _work(self) -> None:
        while True:
            await asyncio.sleep(self._settings.snapshot_interval_s)
            try:
                await self.keep()
            except XlstmdError as error:
                logger.warning("sessions could not be kept: %s", error)
            except Exception:
                # A fault of ours: the next time may go well.
                logger.exception("sessions could not be kept")

    async def _spill_large(self) -> None:
        if self._store is None:
            return
        for session in self._table:
            if session.reply.nbytes > LARGE_REPLY_BYTES and self._turns.is_free(session.key):
                async with self._turns.of(session.key):
                    if self._table.get(session.key) is session:
                        with suppress(*SAVE_ERRORS):
                            await self._opener.spill(session)

    async def _end_idle(self) -> None:
        limit = self._settings.session_idle_s
        for session in self._table:
            if self._clock() - session.used_at > limit and self._turns.is_free(session.key):
                async with self._turns.of(session.key):
                    await self._end_if_idle(session)
        if self._store is not None:
            await self._end_stored(self._store, limit)
        with suppress(*SAVE_ERRORS):
            await self._saver.bury()

    async def _end_if_idle(self, session: Session) -> None:
        is_idle = self._clock() - session.used_at > self._settings.session_idle_s
        if is_idle and self._table.get(session.key) is session:
            await self._opener.end(session, Ending.IDLE)

    async def _end_stored(self, store: Store, limit: float) -> None:
        idle = await asyncio.wrap_future(store.idle(longer_than_s=limit, limit=GROUP_CHANGES))
        for key in (summary.key for summary in idle):
            if self._table.get(key) is None and self._turns.is_free(key):
                async with self._turns.of(key):
                    # Looks again, and ends it where it is idle.
                    with suppress(SessionUnknown, SessionExpired, StoreFailed):
                        await self._opener.find(key)
