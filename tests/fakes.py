"""Stand-ins for models, lanes and clocks, so that laws need no weights and no waiting."""

import asyncio
import threading

import numpy as np

from xlstmd.engine.lane_worker import LaneWorker
from xlstmd.engine.model_facts import facts_of
from xlstmd.models.quantile_forecast import QuantileForecast

POISON = 666.0
NAN_MAKER = 777.0
SPREAD = 2.0


def echo_forecast(histories, horizon, quantile_levels):
    """Continues the last observed value; bands are as wide as the level is far from one half."""
    last = np.array([history[~np.isnan(history)][-1] for history in histories])
    median = np.repeat(last[:, None], horizon, axis=1)
    levels = np.array(quantile_levels)
    return QuantileForecast(
        mean=median + 0.25,
        median=median,
        quantiles=median[:, :, None] + SPREAD * (levels - 0.5),
        quantile_levels=tuple(quantile_levels),
        mean_method="quantile_integral",
    )


class EchoModel:
    """Repeats the last value and keeps what it was called with."""

    def __init__(self, name="echo", version="1"):
        self.name = name
        self.version = version
        self.identity = f"{name}@{version}"
        self.calls = []

    def describe(self):
        """Says what there is to say."""
        return {"name": self.name, "version": self.version, "parameters": 0, "context": 512}

    def forecast(self, histories, horizon, quantile_levels):
        """Echoes."""
        self.calls.append((len(histories), horizon, tuple(quantile_levels)))
        return echo_forecast(histories, horizon, quantile_levels)


class SlowModel(EchoModel):
    """Computes only while `release` is set; `entered` tells that a call waits."""

    def __init__(self, **names):
        super().__init__(**names)
        self.release = threading.Event()
        self.release.set()
        self.entered = threading.Event()

    def forecast(self, histories, horizon, quantile_levels):
        """Waits, then echoes."""
        self.entered.set()
        if not self.release.wait(20.0):
            raise TimeoutError("nobody released the model")
        return super().forecast(histories, horizon, quantile_levels)


class FailingModel(EchoModel):
    """Raises when any row ends with the poison value."""

    def __init__(self, error=None, **names):
        super().__init__(**names)
        self.error = error or RuntimeError("poison")

    def forecast(self, histories, horizon, quantile_levels):
        """Raises or echoes."""
        forecast = super().forecast(histories, horizon, quantile_levels)
        if any(history[-1] == POISON for history in histories):
            raise self.error
        return forecast


class NanRowModel(EchoModel):
    """Gives NaN for rows that end with the marker, and sound rows beside them."""

    def forecast(self, histories, horizon, quantile_levels):
        """Echoes, but for the marked rows."""
        forecast = super().forecast(histories, horizon, quantile_levels)
        marked = np.array([history[-1] == NAN_MAKER for history in histories])
        forecast.quantiles[marked, 0] = np.nan
        return forecast


class ManualClock:
    """A clock that moves when told."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        """Gives the time."""
        return self.now

    def advance(self, seconds):
        """Moves on."""
        self.now += seconds


class HeldLane:
    """A lane without a worker: each call waits until the test finishes it."""

    can_restart = False

    def __init__(self, model, clock=None, seconds_per_call=0.0):
        self.name = f"{model.name}-held"
        self.model = facts_of(model)
        self.is_alive = True
        self.heartbeat_age_s = 0.0
        self.calls = []
        self._worker = LaneWorker(model)
        self._clock = clock
        self._seconds = seconds_per_call
        self._held = None
        self.is_open = True

    def start(self, on_end):
        """Has nothing to start."""

    async def stop(self, timeout_s):
        """Has nothing to stop."""
        self.is_alive = False

    def close(self):
        """Makes later calls wait."""
        self.is_open = False

    def call(self, order):
        """Puts an order in line."""
        return asyncio.ensure_future(self._do(order))

    async def _do(self, call):
        """Notes the call, waits while closed, and computes."""
        self.calls.append(call)
        if not self.is_open:
            self._held = asyncio.get_running_loop().create_future()
            await self._held
        if self._clock is not None:
            self._clock.advance(self._seconds)
        return self._worker.do(call)

    async def finish(self, calls=1):
        """Lets the waiting call go, and as many after it as asked for."""
        for _ in range(calls):
            self._held.set_result(None)
            await settle()

    async def open(self):
        """Lets every call go."""
        self.is_open = True
        self._held.set_result(None)
        await settle()


async def settle(turns=20):
    """Lets all tasks of the loop that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)
