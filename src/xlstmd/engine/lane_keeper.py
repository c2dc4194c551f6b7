"""Watches a lane, and brings it back when its worker has died or hangs."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from xlstmd.engine.batcher import Batcher
from xlstmd.engine.lane import Clock
from xlstmd.engine.telemetry import LaneTelemetry

logger = logging.getLogger(__name__)

SHORTEST_S: Final = 0.05
LONGEST_S: Final = 30.0

# A worker that has lived for so long did not die of how it was started.
SETTLED_S: Final = 60.0


class LaneKeeper:
    """Keeps one lane up. Belongs to the event loop."""

    def __init__(
        self,
        batcher: Batcher,
        telemetry: LaneTelemetry,
        *,
        lose: Callable[[], None],
        reopen: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """Watches from `start` on.

        Args:
          batcher: of the lane.
          telemetry: of the lane.
          lose: forgets what the worker held, and fails whoever waits for it.
          reopen: makes a new worker ready.
          clock: monotonic seconds.
        """
        self._batcher = batcher
        self._lane = batcher.lane
        self._telemetry = telemetry
        self._lose = lose
        self._reopen = reopen
        self._clock = clock
        self._delay_s = SHORTEST_S
        self._started_at = clock()
        self._is_stopped = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_stuck(self) -> bool:
        """Whether the lane is down and nothing in this process can help it."""
        return not self._batcher.is_up and not self._lane.can_restart

    @property
    def is_back(self) -> bool:
        """Whether no worker is being started or tried out in the place of another one."""
        return self._task is None

    def start(self) -> None:
        """Starts the lane."""
        self._lane.start(self._note_end)
        self._started_at = self._clock()

    def check(self) -> None:
        """Where the lane is down: fails whatever waits for it; a worker that hangs is given up.

        To be called now and then.
        """
        if self._batcher.is_up:
            return
        if self._lane.is_alive and self._lane.can_restart:
            # At once: if it came to life again, sessions would go back into slots that end with it.
            self._lane.give_up()
        self._batcher.check_lane()

    async def stop(self) -> None:
        """Leaves the lane as it is."""
        self._is_stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _note_end(self) -> None:
        """Fails whatever waits for the worker, which is gone, and begins to bring another one."""
        self._batcher.check_lane()
        self._lose()
        if self._task is None and not self._is_stopped:
            logger.error("lane is down", extra={"lane": self._lane.name})
            self._task = asyncio.get_running_loop().create_task(self._bring_back())

    async def _bring_back(self) -> None:
        if self._clock() - self._started_at > SETTLED_S:
            self._delay_s = SHORTEST_S
        try:
            while not await self._has_come_back():
                pass
        finally:
            self._task = None

    async def _has_come_back(self) -> bool:
        await asyncio.sleep(self._delay_s)
        self._delay_s = min(2.0 * self._delay_s, LONGEST_S)
        try:
            await self._lane.restart()
            self._started_at = self._clock()
            await self._reopen()
        except Exception as error:
            # One that cannot begin must not be taken for one that can compute.
            self._lane.give_up()
            logger.warning(
                "lane could not be started",
                extra={"lane": self._lane.name, "error": str(error), "wait_s": self._delay_s},
            )
            return False
        self._telemetry.restarts.inc()
        logger.info("lane is up again", extra={"lane": self._lane.name})
        return True
