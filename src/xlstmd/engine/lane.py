"""A lane: the one place where a model runs, one call at a time."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from xlstmd.engine.lane_worker import LaneWorker
from xlstmd.engine.model_facts import ModelFacts, facts_of
from xlstmd.engine.orders import Order
from xlstmd.engine.tasks import Model
from xlstmd.errors import LaneDown

Clock = Callable[[], float]

# Retry hint for callers of a lane that is down: about what a restart takes.
RESTART_S: Final = 1.0

# An idle worker gives a sign this often.
HEARTBEAT_S: Final = 0.5


class Lane(Protocol):
    """Runs the calls of one model away from the event loop, one after the other."""

    @property
    def name(self) -> str:
        """Name for metrics and messages."""

    @property
    def model(self) -> ModelFacts:
        """What is known of the model."""

    @property
    def is_alive(self) -> bool:
        """Whether the worker exists."""

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the worker last gave a sign, from the loop that runs the model."""

    @property
    def can_restart(self) -> bool:
        """Whether another worker can take the place of one that hangs."""

    def start(self, on_end: Callable[[], None]) -> None:
        """Starts the worker.

        Args:
          on_end: is called in the event loop whenever a worker has ended, or is given up.
        """

    def call(self, order: Order) -> "asyncio.Future[Any]":
        """Puts an order in line, at once.

        Orders are carried out as they came, whether or not somebody still waits. The answer is that
        of `LaneWorker.do`, or the error that it raised.

        Raises:
          LaneDown: there is no worker; likewise the answer, if it ends before.
        """

    def give_up(self) -> None:
        """Ends a worker at once, with all that is in line; only where `can_restart`."""

    async def restart(self) -> None:
        """Starts a worker that has no slots, in place of another one; a cancelled start ends.

        Raises:
          LaneDown: there is no worker now.
        """

    async def stop(self, timeout_s: float) -> None:
        """Ends the worker after its current call; waits at most so long."""


@dataclass(frozen=True, slots=True)
class _Order:
    order: Order
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class ThreadLane:
    """A lane whose worker is a thread of this process. If the model hangs, so does the lane."""

    can_restart = False

    def __init__(self, model: Model, *, clock: Clock = time.monotonic) -> None:
        """Keeps the model; `start` starts the thread."""
        self.model = facts_of(model)
        self.name = f"{model.name}-thread"
        self._worker = LaneWorker(model)
        self._clock = clock
        self._inbox: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._beat = clock()
        # A daemon thread: a model that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the thread last took or finished a call, or found nothing to do."""
        return self._clock() - self._beat

    def start(self, on_end: Callable[[], None]) -> None:  # noqa: ARG002  A thread never ends.
        """Starts the thread."""
        self._thread.start()

    def call(self, order: Order) -> "asyncio.Future[Any]":
        """Puts an order in line; see `Lane.call`."""
        if not self.is_alive:
            raise LaneDown(f"lane {self.name} does not run", retry_after_s=RESTART_S)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._inbox.put(_Order(order, loop, answer))
        return answer

    def give_up(self) -> None:
        """Changes nothing: a thread cannot be ended from outside."""

    async def restart(self) -> None:
        """Fails, for the same reason."""
        raise LaneDown(f"lane {self.name} cannot be replaced", retry_after_s=RESTART_S)

    async def stop(self, timeout_s: float) -> None:
        """Ends the thread after its current call; waits at most so long."""
        self._inbox.put(None)
        if self.is_alive:
            await asyncio.to_thread(self._thread.join, timeout_s)

    def _work(self) -> None:
        while True:
            try:
                order = self._inbox.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                self._beat = self._clock()
                continue
            if order is None:
                return
            self._beat = self._clock()
            self._answer(order)
            self._beat = self._clock()

    def _answer(self, order: _Order) -> None:
        try:
            result = self._worker.do(order.order)
        except BaseException as error:  # The worker outlives whatever the model raises.
            _hand_over(order, partial(_fail, order.answer, error))
        else:
            _hand_over(order, partial(_succeed, order.answer, result))


def _hand_over(order: _Order, settle: Callable[[], None]) -> None:
    try:
        order.loop.call_soon_threadsafe(settle)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        return


def _succeed(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if answer.done():
        return
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        answer.set_exception(error)
    else:
        # SystemExit and the like must not reach the event loop; StopIteration may not.
        wrapped = RuntimeError(f"the model raised {type(error).__name__}: {error}")
        wrapped.__cause__ = error
        answer.set_exception(wrapped)
