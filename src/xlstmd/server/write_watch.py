"""Ends the connection of a client that takes nothing of what is sent to it."""

import asyncio
import fcntl
import struct
import sys
import termios
from typing import Final

COUNT: Final = struct.Struct("i")


class WriteWatch:
    """Looks at the bytes that wait for one client."""

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, timeout_s: float
    ) -> None:
        """Starts without a timer.

        Args:
          transport: of the connection.
          loop: that runs it.
          timeout_s: a client that has taken nothing for so long is cut off.
        """
        self._transport = transport
        self._loop = loop
        self._timeout_s = timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._untaken = 0
        self._has_resumed = False

    def start(self) -> None:
        """Watches from now on, until nothing waits any more."""
        self._untaken = self._count_untaken()
        self._has_resumed = False
        if self._timer is None and self._transport.get_write_buffer_size():
            self._timer = self._loop.call_later(self._timeout_s, self._check)

    def resumed(self) -> None:
        """Notes that the client has taken a good part."""
        self._has_resumed = True

    def stop(self) -> None:
        """Watches no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._has_resumed and 0 < self._untaken <= self._count_untaken():
            # Closing would wait for the client to take the rest.
            self._transport.abort()
            return
        self.start()

    def _count_untaken(self) -> int:
        """Counts the bytes that wait here and in the kernel; the latter hides a slow client."""
        waiting = self._transport.get_write_buffer_size()
        connected = self._transport.get_extra_info("socket")
        if not waiting or connected is None or not sys.platform.startswith("linux"):
            return waiting
        queued = fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(COUNT.size))
        return waiting + int(COUNT.unpack(queued)[0])
