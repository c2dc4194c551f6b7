"""The door of all sessions: bounded by requests and bytes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xlstmd.engine.batcher import LONGEST_RETRY_S, SHORTEST_RETRY_S
from xlstmd.engine.lane import Clock
from xlstmd.engine.session_rush import SessionRush
from xlstmd.errors import Overloaded


class SessionDoor:
    """Counts the requests that are inside, wherever they wait."""

    def __init__(
        self,
        *,
        max_requests: int,
        max_bytes: int,
        expected_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        """Sets the bounds.

        Args:
          max_requests: inside at the same time.
          max_bytes: of their points and answers.
          expected_s: gives how long those inside will take.
          clock: monotonic seconds.
        """
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._expected_s = expected_s
        self._rush = SessionRush(clock)
        self._requests = 0
        self._nbytes = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def requests(self) -> int:
        """How many are inside."""
        return self._requests

    @contextmanager
    def passage(self, nbytes: int = 0) -> Iterator[None]:
        """Is inside for the length of the block.

        Raises:
          Overloaded: there is no room.
        """
        is_alone = not self._requests
        if self._requests == self._max_requests or (
            not is_alone and self._nbytes + nbytes > self._max_bytes
        ):
            raise self.overloaded("too many requests of sessions wait")
        self._requests += 1
        self._nbytes += nbytes
        self._is_empty.clear()
        try:
            yield
        finally:
            self._requests -= 1
            self._nbytes -= nbytes
            self._rush.note_done()
            if not self._requests:
                self._is_empty.set()

    def overloaded(self, message: str) -> Overloaded:
        """Makes the error for somebody who finds no room."""
        seconds = min(max(self._expected_s(), SHORTEST_RETRY_S), LONGEST_RETRY_S)
        return Overloaded(message, retry_after_s=self._rush.send_away(seconds))

    async def until_empty(self) -> None:
        """Waits until nobody is inside."""
        await self._is_empty.wait()
