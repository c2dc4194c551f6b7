"""Turns: requests of one session go one after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xlstmd.engine.session_record import SessionKey


class SessionTurns:
    """Who is at a session, and who waits for it: first come, first served."""

    def __init__(self) -> None:
        """Starts with nobody."""
        self._lines: dict[SessionKey, tuple[asyncio.Lock, int]] = {}

    def is_free(self, key: SessionKey) -> bool:
        """Says whether nobody is at a session or waits for it."""
        return key not in self._lines

    @asynccontextmanager
    async def of(self, key: SessionKey) -> AsyncIterator[None]:
        """Has the session for the length of the block."""
        await self.take(key)
        try:
            yield
        finally:
            self.leave(key)

    async def take(self, key: SessionKey) -> None:
        """Waits for the session, and has it until `leave`."""
        lock, count = self._lines.get(key) or (asyncio.Lock(), 0)
        self._lines[key] = (lock, count + 1)
        try:
            await lock.acquire()
        except BaseException:
            self._forget(key)
            raise

    def leave(self, key: SessionKey) -> None:
        """Lets the next one in."""
        self._lines[key][0].release()
        self._forget(key)

    def _forget(self, key: SessionKey) -> None:
        lock, count = self._lines[key]
        if count == 1:
            del self._lines[key]
        else:
            self._lines[key] = (lock, count - 1)
