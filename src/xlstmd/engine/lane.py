"""A lane: the one place where a model runs, one call at a time."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from xlstmd.engine.tasks import FloatArray, ForecastModel
from xlstmd.errors import LaneDown
from xlstmd.models.quantile_forecast import QuantileForecast

T = TypeVar("T")

Clock = Callable[[], float]

# Retry hint for callers of a lane that is down: about what a restart takes.
RESTART_S: Final = 5.0

# An idle worker gives a sign this often.
HEARTBEAT_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class ForecastCall:
    """The arguments of one model call.

    Args:
      histories: rows, see `ForecastModel.forecast`.
      horizon: points to forecast.
      quantile_levels: of the answer, in this order.
    """

    histories: Sequence[FloatArray]
    horizon: int
    quantile_levels: tuple[float, ...]


class Lane(Protocol):
    """Runs the calls of one model away from the event loop, one after the other."""

    @property
    def name(self) -> str:
        """Name for metrics and messages."""

    @property
    def is_alive(self) -> bool:
        """Whether the worker exists."""

    @property
    def heartbeat_age_s(self) -> float:
        """Seconds since the worker last gave a sign, from the loop that runs the model."""

    def start(self) -> None:
        """Starts the worker."""

    async def forecast(self, call: ForecastCall) -> QuantileForecast:
        """Runs one call; raises what the model raised, or `LaneDown` without a worker."""

    def call(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Puts other work in line where the model runs, at once; fails as `forecast` does."""

    def stop(self, timeout_s: float) -> None:
        """Ends the worker after its current call; waits at most so long."""


@dataclass(frozen=True, slots=True)
class _Order:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Any]


class ThreadLane:
    """A lane whose worker is a thread of this process."""

    def __init__(self, model: ForecastModel, *, clock: Clock = time.monotonic) -> None:
        """Keeps the model; `start` starts the thread."""
        self.name = f"{model.name}-thread"
        self._model = model
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

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    async def forecast(self, call: ForecastCall) -> QuantileForecast:
        """Runs one call in the thread.

        Raises:
          LaneDown: the thread does not run.
        """
        forecast = self._model.forecast
        return await self.call(
            partial(forecast, call.histories, call.horizon, call.quantile_levels)
        )

    def call(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        """Puts other work in line with the model's calls.

        Work runs in the order of these calls, whether or not somebody still waits for it.

        Raises:
          LaneDown: the thread does not run.
        """
        if not self.is_alive:
            raise LaneDown(f"lane {self.name} does not run", retry_after_s=RESTART_S)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._inbox.put(_Order(work, loop, answer))
        return answer

    def stop(self, timeout_s: float) -> None:
        """Ends the thread after its current call; waits at most so long."""
        self._inbox.put(None)
        if self.is_alive:
            self._thread.join(timeout_s)

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
            _answer(order)
            self._beat = self._clock()


def _answer(order: _Order) -> None:
    try:
        result = order.work()
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
