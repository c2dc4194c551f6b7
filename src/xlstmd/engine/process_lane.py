"""A lane whose worker is a process: what it does to itself happens to nobody else."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

from xlstmd.engine.lane import RESTART_S
from xlstmd.engine.lane_channel import Closed, LaneChannel, Message, make_memory
from xlstmd.engine.lane_wire import pack_order, unpack_answer
from xlstmd.engine.model_facts import ModelFacts
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.orders import Order
from xlstmd.errors import LaneDown

# To load a model, on a slow machine and from a slow disk.
LAUNCH_S: Final = 120.0
KILL_S: Final = 5.0

Line = deque[tuple["asyncio.Future[Any]", Message]]


class ProcessLane:
    """A lane whose worker is a process of its own, with its own Python and its own kernels.

    Belongs to one event loop from `start` on.
    """

    can_restart = True

    def __init__(self, source: ModelSource) -> None:
        """Launches the process and waits until it has loaded its model.

        Args:
          source: of the model.

        Raises:
          LaneDown: the process ended, or was not ready in time.
          XlstmdError: the model cannot be loaded; whatever else its loader raises comes through.
        """
        self._source = source
        self._run = _Run(source)
        self.model = self._run.model
        self.name = f"{self.model.name}-process"
        self._is_open = True
        # The first one is with the worker, if `_is_asked`.
        self._line: Line = deque()
        self._is_asked = False
        self._on_end: Callable[[], None] = _nothing

    @property
    def is_alive(self) -> bool:
        """Whether there is a process that has not ended."""
        return self._is_open

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._run.process.pid

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the process last took or finished a call, or found nothing to do."""
        return time.monotonic() - self._run.channel.beat

    def start(self, on_end: Callable[[], None]) -> None:
        """Begins to listen to the process; see `Lane.start`."""
        self._on_end = on_end
        asyncio.get_running_loop().add_reader(self._run.channel.connection, self._receive)

    def call(self, order: Order) -> "asyncio.Future[Any]":
        """Puts an order in line; see `Lane.call`."""
        if not self._is_open:
            raise self._down()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._line.append((answer, pack_order(order)))
        self._ask()
        return answer

    async def restart(self) -> None:
        """Kills the process and launches another one; see `Lane.restart`."""
        self._close()
        await asyncio.to_thread(self._run.kill)
        run = await asyncio.to_thread(_Run, self._source)
        if run.model != self.model:
            await asyncio.to_thread(run.kill)
            what = f"{self.model.identity}: its files have changed; restart the daemon to use them"
            raise LaneDown(what, retry_after_s=RESTART_S)
        self._run, self._is_open = run, True
        asyncio.get_running_loop().add_reader(run.channel.connection, self._receive)

    async def stop(self, timeout_s: float) -> None:
        """Ends the process after its current call; kills it after so long."""
        self._close()
        await asyncio.to_thread(self._run.end, timeout_s)

    def _ask(self) -> None:
        if self._is_asked or not self._line:
            return
        self._is_asked = True
        try:
            self._run.channel.send(*self._line[0][1])
        except Closed:
            # The reader finds out as well; callers get their answer, not an exception here.
            asyncio.get_running_loop().call_soon(self._end)

    def _receive(self) -> None:
        try:
            message = self._run.channel.receive()
        except BlockingIOError:
            return
        except Closed:
            self._end()
            return
        answer, _ = self._line.popleft()
        self._is_asked = False
        # First of all the worker should have something to do.
        self._ask()
        _settle(answer, message)

    def _end(self) -> None:
        """Notes that the process is gone."""
        if self._is_open:
            self._close()
            self._on_end()

    def _close(self) -> None:
        """Lets go of the process, and fails what is in line."""
        if not self._is_open:
            return
        has_order, self._is_open, self._is_asked = self._is_asked, False, False
        asyncio.get_running_loop().remove_reader(self._run.channel.connection)
        self._run.channel.close()
        line, self._line = self._line, deque()
        for place, (answer, _) in enumerate(line):
            if not answer.done():
                answer.set_exception(self._down(had_it=has_order and place == 0))

    def _down(self, *, had_it: bool = False) -> LaneDown:
        what = f"the worker of {self.model.identity} is down"
        return LaneDown(what, retry_after_s=RESTART_S, had_it=had_it)


class _Run:
    """One process, from its launch to its end. Its methods block."""

    def __init__(self, source: ModelSource) -> None:
        here, there = socket.socketpair()
        held, self._lifeline = os.pipe()
        memory = make_memory()
        inherited = (there.fileno(), memory, held)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-m", _MODULE, *map(str, inherited)],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                },
            )
            self.channel = LaneChannel(here, memory, is_lane=False)
        finally:
            there.close()
            os.close(held)
            os.close(memory)
        try:
            self.model = self._load(source)
        except BaseException:
            self.kill()
            raise

    def _load(self, source: ModelSource) -> ModelFacts:
        connection = self.channel.connection
        connection.settimeout(LAUNCH_S)
        try:
            self.channel.send({"load": asdict(source)})
            message = self.channel.receive()
        except (Closed, TimeoutError):
            what = "the worker ended, or was not ready in time"
            raise LaneDown(what, retry_after_s=RESTART_S) from None
        connection.setblocking(False)
        if "facts" not in message.header:
            unpack_answer(message)
        return ModelFacts(**message.header["facts"])

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self.channel.close()
        self.process.kill()
        self._wait(KILL_S)

    def end(self, timeout_s: float) -> None:
        """Waits for the end of a process whose channel is closed; kills it after so long."""
        if not self._wait(timeout_s):
            self.kill()

    def _wait(self, timeout_s: float) -> bool:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        return True


_MODULE: Final = "xlstmd.engine.lane_process"


def _nothing() -> None:
    """Is called where nobody listens yet."""


def _settle(answer: "asyncio.Future[Any]", message: Message) -> None:
    if answer.done():
        return
    try:
        answer.set_result(unpack_answer(message))
    except Exception as error:
        answer.set_exception(error)
