"""A lane whose worker is a process: what it does to itself happens to nobody else."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Final

from xlstmd.engine.lane import RESTART_S
from xlstmd.engine.lane_channel import Closed, LaneChannel, Message, NoRoom, make_memory
from xlstmd.engine.lane_wire import pack_order, unpack_answer
from xlstmd.engine.model_facts import ModelFacts
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.orders import Order
from xlstmd.errors import LaneDown

# To load a model, on a slow machine and from a slow disk.
LAUNCH_S: Final = 120.0
KILL_S: Final = 5.0

# From the end of a process's connection to its status: well below a millisecond.
STATUS_S: Final = 0.02

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
        self._run = _Run()
        self.model = self._run.start(source)
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

    def give_up(self) -> None:
        """Kills the process; see `Lane.give_up`."""
        self._run.kill()
        self._end()

    async def restart(self) -> None:
        """Launches another process; see `Lane.restart`."""
        self._run.kill()
        self._close()
        await asyncio.to_thread(self._run.end, KILL_S)
        run = _Run()
        try:
            model = await asyncio.to_thread(run.start, self._source)
        except BaseException:
            # A launch that nobody waits for any more ends at once.
            run.kill()
            raise
        if model != self.model:
            await asyncio.to_thread(run.end, 0.0)
            what = f"{self.model.identity}: its files have changed; restart the daemon to use them"
            raise LaneDown(what, retry_after_s=RESTART_S)
        self._run, self._is_open = run, True
        asyncio.get_running_loop().add_reader(run.channel.connection, self._receive)

    async def stop(self, timeout_s: float) -> None:
        """Ends the process after its current call; kills it after so long."""
        self._close()
        await asyncio.to_thread(self._run.end, timeout_s)

    def _ask(self) -> None:
        while self._line and not self._is_asked:
            try:
                self._run.channel.send(*self._line[0][1])
                self._is_asked = True
            except NoRoom:
                self._lose_first()
            except Closed:
                # The reader finds out as well; callers get their answer, not an exception here.
                asyncio.get_running_loop().call_soon(self._end)
                return

    def _receive(self) -> None:
        try:
            message = self._run.channel.receive()
        except BlockingIOError:
            return
        except NoRoom:
            self._is_asked = False
            self._lose_first()
            self._ask()
            return
        except Closed:
            self._end()
            return
        answer, _ = self._line.popleft()
        self._is_asked = False
        # First of all the worker should have something to do.
        self._ask()
        _settle(answer, message)

    def _lose_first(self) -> None:
        """Fails the first one in line alone: the process is well."""
        answer, _ = self._line.popleft()
        if not answer.done():
            what = f"no memory or no open file is left for a message of {self.model.identity}"
            answer.set_exception(LaneDown(what, retry_after_s=RESTART_S))

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
        is_blamed = has_order and not self._run.was_killed_by_others()
        line, self._line = self._line, deque()
        for place, (answer, _) in enumerate(line):
            if not answer.done():
                answer.set_exception(self._down(had_it=is_blamed and place == 0))

    def _down(self, *, had_it: bool = False) -> LaneDown:
        what = f"the worker of {self.model.identity} is down"
        return LaneDown(what, retry_after_s=RESTART_S, had_it=had_it)


class _Run:
    """One process, from its launch to its end."""

    process: subprocess.Popen[bytes]
    channel: LaneChannel

    def __init__(self) -> None:
        """Has no process yet."""
        # Closed when the process has ended.
        self._held = ExitStack()
        self._launching = threading.Lock()
        self._is_killed = False

    def start(self, source: ModelSource) -> ModelFacts:
        """Launches the process, and waits until it has loaded its model.

        Raises:
          LaneDown: it ended, was killed, or was not ready in time; or whatever the loader raises.
        """
        with self._launching:
            if self._is_killed:
                raise LaneDown("the worker is not wanted any more", retry_after_s=RESTART_S)
            self._launch()
        try:
            return self._load(source)
        except BaseException:
            self.end(0.0)
            raise

    def kill(self) -> None:
        """Lets the process end, whatever it does; waits for nothing but its launch."""
        with self._launching:
            self._is_killed = True
            if hasattr(self, "process"):
                self.process.kill()

    def was_killed_by_others(self) -> bool:
        """Whether the process ended by a signal that no program can send itself by mistake.

        The system sends it where memory is short, or an operator: nothing that it did is to blame.
        """
        if self._is_killed or not self._has_ended(STATUS_S):
            return False
        return self.process.returncode == -signal.SIGKILL

    def end(self, timeout_s: float) -> None:
        """Closes the channel, waits for the end of the process, kills it after so long."""
        self.channel.close()
        if not self._has_ended(timeout_s):
            self.process.kill()
            self._has_ended(KILL_S)

    def _launch(self) -> None:
        with ExitStack() as given, ExitStack() as held:
            here, there = socket.socketpair()
            held.enter_context(here)
            given.enter_context(there)
            lifeline, kept = os.pipe()
            given.callback(os.close, lifeline)
            held.callback(os.close, kept)
            memory = make_memory()
            given.callback(os.close, memory)
            self.channel = LaneChannel(here, memory, is_lane=False)
            inherited = (there.fileno(), memory, lifeline)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-X", "faulthandler", "-m", _MODULE, *map(str, inherited)],
                pass_fds=inherited,
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
                },
            )
            self._held = held.pop_all()

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

    def _has_ended(self, timeout_s: float) -> bool:
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        self._held.close()
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
