"""Tells systemd how the daemon fares, as `sd_notify(3)` and `sd_watchdog_enabled(3)` have it."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

MICRO: Final = 1e-6

# systemd's own advice is half of its interval; a busy event loop gets a little more air.
SHARE: Final = 1.0 / 3.0


class ServiceManager:
    """The service manager that started this process, if there is one and it wants to know."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Reads where messages go and how often signs are expected.

        Args:
          environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
        """
        address = environment.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with an at sign.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.interval_s: float | None = None
        expected = environment.get("WATCHDOG_USEC", "")
        is_for_us = environment.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        if self._address and is_for_us and expected.isdigit() and int(expected):
            self.interval_s = SHARE * MICRO * int(expected)

    def tell(self, *states: str) -> None:
        """Sends states such as `READY=1`; nothing happens where nobody listens."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
            messages.setblocking(False)
            messages.sendto("\n".join(states).encode(), self._address)

    async def watch(self, is_well: Callable[[], bool]) -> None:
        """Gives signs as long as the event loop turns and all is well; for ever."""
        while self.interval_s is not None:
            if is_well():
                self.tell("WATCHDOG=1")
            await asyncio.sleep(self.interval_s)
