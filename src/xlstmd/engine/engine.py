"""The engine: loaded models behind one door, from start to drain."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final

import numpy as np

from xlstmd.engine.batcher import Batcher
from xlstmd.engine.lane import HEARTBEAT_S, Clock, Lane
from xlstmd.engine.lane_keeper import LaneKeeper
from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.sessions import EngineSessions
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.store import Store
from xlstmd.engine.tasks import ForecastResult, ForecastTask
from xlstmd.engine.telemetry import EngineTelemetry, LaneTelemetry
from xlstmd.errors import ConfigError, EngineStopped, ModelNotFound, XlstmdError

logger = logging.getLogger(__name__)

WATCH_S: Final = 0.25

# Who looks so late has stood still, and lanes perhaps with him: they first get the time for a sign.
STANDSTILL_S: Final = 1.0
LANE_STOP_S: Final = 1.0
STORE_CLOSE_S: Final = 10.0

# To save sessions there is at least so long, however long unfinished tasks have taken.
SAVE_S: Final = 5.0
MISSED_CANARIES: Final = 3

# What a stopped engine tells callers to wait: about a restart.
RESTART_S: Final = 5.0

CANARY_POINTS: Final = 64


class Phase(StrEnum):
    """Where the engine is in its life; it only goes forward."""

    LOADING = "loading"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """How one model fares.

    Args:
      model: identity, `name@version`.
      is_up: its lane's worker lives, gives signs, and has computed something.
      is_fresh: it computed something well within the last three canary intervals.
      heartbeat_age_s: since the worker's last sign.
      canary_age_s: since the last success.
      queued_series: series of unfinished tasks.
    """

    model: str
    is_up: bool
    is_fresh: bool
    heartbeat_age_s: float
    canary_age_s: float
    queued_series: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """The state of the engine at one moment.

    Args:
      phase: see `Phase`.
      models: one entry for each model.
    """

    phase: Phase
    models: tuple[ModelStatus, ...]

    @property
    def is_ready(self) -> bool:
        """Whether new tasks are taken and every model can compute."""
        well = all(model.is_up and model.is_fresh for model in self.models)
        return self.phase is Phase.RUNNING and well


class Engine:
    """Takes tasks for the loaded models and answers them in batches.

    All methods belong to one event loop, from `start` to the end of `drain`.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        settings: EngineSettings,
        *,
        clock: Clock = time.monotonic,
        telemetry: EngineTelemetry | None = None,
        store: Store | None = None,
    ) -> None:
        """Connects the lanes; `start` starts them.

        Args:
          lanes: of different models, each loaded.
          settings: bounds.
          clock: monotonic seconds.
          telemetry: metric families; by default in a new registry.
          store: of sessions, closed by `drain`; without one they end with the engine.

        Raises:
          ConfigError: no model, two of one name, or the default model is not among them.
        """
        names = [lane.model.name for lane in lanes]
        if not lanes:
            raise ConfigError("models: expected at least one, got none")
        if len(set(names)) < len(names):
            raise ConfigError(f"models: expected different names, got {', '.join(names)}")
        if settings.default_model is not None and settings.default_model not in names:
            known = ", ".join(sorted(names))
            raise ConfigError(
                f"default_model: expected one of {known}, got {settings.default_model}"
            )
        self.settings = settings
        self.telemetry = telemetry or EngineTelemetry()
        self._clock = clock
        self._phase = Phase.LOADING
        self._default = settings.default_model or names[0]
        telemetries = [
            LaneTelemetry(self.telemetry, lane.model.name, lane.model.version) for lane in lanes
        ]
        self._batchers = {
            lane.model.name: Batcher(lane, settings, lane_telemetry, clock=clock)
            for lane, lane_telemetry in zip(lanes, telemetries, strict=True)
        }
        self._names = {name: name for name in names}
        self._names |= {lane.model.identity: lane.model.name for lane in lanes}
        self._store = store
        arenas = map(self._arena, lanes, telemetries)
        self._sessions = EngineSessions(
            {arena.model: arena for arena in arenas if arena},
            settings,
            self.telemetry.sessions,
            store=store,
            find_model=self.find_model,
            check_running=self._check_running,
            clock=clock,
        )
        self._keepers = [
            self._keeper(batcher, lane_telemetry)
            for batcher, lane_telemetry in zip(self._batchers.values(), telemetries, strict=True)
        ]
        self._watcher: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> EngineSessions:
        """The streams that are fed step by step."""
        return self._sessions

    @property
    def phase(self) -> Phase:
        """Where the engine is in its life."""
        return self._phase

    @property
    def default_model(self) -> str:
        """Identity of the model for tasks that name none."""
        return self._batchers[self._default].model.identity

    def describe_models(self) -> list[dict[str, Any]]:
        """Gives what every model says about itself, and which one is the default."""
        return [
            {
                **batcher.model.description,
                "model": batcher.model.identity,
                "default": name == self._default,
            }
            for name, batcher in self._batchers.items()
        ]

    def describe_policies(self) -> list[dict[str, Any]]:
        """Gives what every policy says about itself."""
        return [
            {**batcher.model.description, "model": batcher.model.identity}
            for batcher in self._batchers.values()
            if batcher.model.guards is not None
        ]

    def find_model(self, name: str | None) -> str:
        """Gives the identity of the model that a task with this name would go to.

        Raises:
          ModelNotFound: no model of that name or identity is loaded.
        """
        return self._batcher(name).model.identity

    async def start(self) -> None:
        """Starts the lanes and lets every model forecast once; then tasks are taken.

        Raises:
          XlstmdError: a model cannot forecast; whatever else it raises comes through too.
        """
        for keeper in self._keepers:
            keeper.start()
        for batcher in self._batchers.values():
            batcher.start()
        for batcher in self._batchers.values():
            started = self._clock()
            await _warm_up(batcher)
            logger.info(
                "model ready",
                extra={
                    "model": batcher.model.identity,
                    "warm_up_ms": round(1000.0 * (self._clock() - started), 1),
                },
            )
        await self._sessions.start()
        self._watcher = asyncio.get_running_loop().create_task(self._watch(), name="engine watch")
        if self._phase is Phase.LOADING:
            self._phase = Phase.RUNNING

    async def submit(self, task: ForecastTask) -> ForecastResult:
        """Answers a task; see `Batcher.submit` for what it raises besides.

        Raises:
          EngineStopped: the engine does not run yet or no longer.
          ModelNotFound: the task names a model that is not loaded, or a policy.
        """
        self._check_running()
        batcher = self._batcher(task.model)
        if batcher.model.guards is not None:
            known = [name for name, one in self._batchers.items() if one.model.guards is None]
            raise ModelNotFound(str(task.model), known)
        return await batcher.submit(task)

    @property
    def is_stuck(self) -> bool:
        """Whether a lane is down that nothing in this process can bring back."""
        return any(keeper.is_stuck for keeper in self._keepers)

    def status(self) -> EngineStatus:
        """Gives the state at this moment."""
        limit = MISSED_CANARIES * self.settings.canary_interval_s
        return EngineStatus(
            phase=self._phase,
            models=tuple(
                ModelStatus(
                    model=batcher.model.identity,
                    is_up=batcher.is_up and keeper.is_back,
                    is_fresh=batcher.idle_s <= limit,
                    heartbeat_age_s=batcher.lane.heartbeat_age_s,
                    canary_age_s=batcher.idle_s,
                    queued_series=batcher.waiting_rows,
                )
                for batcher, keeper in zip(self._batchers.values(), self._keepers, strict=True)
            ),
        )

    async def drain(self, timeout_s: float) -> None:
        """Takes no more tasks, finishes the accepted ones, saves all sessions, stops.

        Args:
          timeout_s: accepted tasks that are unfinished by then fail with `EngineStopped`; what is
            left of it, or some seconds, is for saving.
        """
        if self._phase in (Phase.DRAINING, Phase.STOPPED):
            await self._until_empty()
            return
        self._phase = Phase.DRAINING
        until = self._clock() + timeout_s
        try:
            await asyncio.wait_for(self._until_empty(), timeout_s)
        except TimeoutError:
            logger.warning("drain ran out of time", extra={"timeout_s": timeout_s})
            for batcher in self._batchers.values():
                batcher.fail_all(self._stopped)
            self._sessions.fail_all(self._stopped)
            await self._until_empty()
        if self._watcher is not None:
            self._watcher.cancel()
        await asyncio.gather(*(keeper.stop() for keeper in self._keepers))
        await self._sessions.stop(max(until - self._clock(), SAVE_S))
        await asyncio.gather(*(batcher.stop(LANE_STOP_S) for batcher in self._batchers.values()))
        if self._store is not None:
            await asyncio.to_thread(self._store.close, STORE_CLOSE_S)
        self._phase = Phase.STOPPED

    def check_lanes(self) -> None:
        """Looks after lanes that are down; runs four times a second by itself."""
        for keeper in self._keepers:
            keeper.check()
        self._sessions.check_lanes()

    async def run_canaries(self) -> None:
        """Lets every model that had nothing to do for an interval forecast a small series."""
        for batcher in self._batchers.values():
            if batcher.is_up and batcher.idle_s >= self.settings.canary_interval_s:
                try:
                    await _canary(batcher, self.settings.canary_interval_s)
                except (XlstmdError, TimeoutError) as error:
                    logger.warning(
                        "canary failed",
                        extra={"model": batcher.model.identity, "error": str(error)},
                    )

    async def _watch(self) -> None:
        canaries: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.check_lanes()
                if canaries is None or canaries.done():
                    canaries = loop.create_task(self.run_canaries())
                looked_at = loop.time()
                await asyncio.sleep(WATCH_S)
                if loop.time() - looked_at > STANDSTILL_S:
                    await asyncio.sleep(2.0 * HEARTBEAT_S)
        finally:
            if canaries is not None:
                canaries.cancel()

    async def _until_empty(self) -> None:
        await asyncio.gather(
            self._sessions.until_empty(),
            *(batcher.until_empty() for batcher in self._batchers.values()),
        )

    def _arena(self, lane: Lane, telemetry: LaneTelemetry) -> SessionArena | None:
        """Gives the slots of a model that can be fed point by point."""
        fingerprint, slot_bytes = lane.model.fingerprint, lane.model.slot_bytes
        if fingerprint is None or slot_bytes is None:
            return None
        return SessionArena(
            lane,
            self.settings,
            telemetry,
            fingerprint=fingerprint,
            slot_bytes=slot_bytes,
            clock=self._clock,
        )

    def _keeper(self, batcher: Batcher, telemetry: LaneTelemetry) -> LaneKeeper:
        model = batcher.model.identity

        async def reopen() -> None:
            await self._sessions.open(model)
            await _warm_up(batcher)

        return LaneKeeper(
            batcher,
            telemetry,
            lose=partial(self._sessions.lose, model),
            reopen=reopen,
            clock=self._clock,
        )

    def _batcher(self, name: str | None) -> Batcher:
        known = self._default if name is None else self._names.get(name)
        if known is None:
            raise ModelNotFound(str(name), tuple(self._batchers))
        return self._batchers[known]

    def _check_running(self) -> None:
        if self._phase is not Phase.RUNNING:
            raise self._stopped()

    def _stopped(self) -> EngineStopped:
        return EngineStopped(f"the engine is {self._phase}", retry_after_s=RESTART_S)


async def _warm_up(batcher: Batcher) -> None:
    """Lets a model compute once; raises where it cannot."""
    if batcher.model.guards is None:
        await batcher.warm_up(canary_task())
    else:
        await batcher.try_out()


async def _canary(batcher: Batcher, timeout_s: float) -> None:
    """Lets a model that has nothing to do compute once; raises where it cannot."""
    if batcher.model.guards is None:
        await batcher.submit(canary_task(deadline_s=timeout_s))
    else:
        async with asyncio.timeout(timeout_s):
            await batcher.try_out()


def canary_task(deadline_s: float | None = None) -> ForecastTask:
    """Gives a small task that every healthy model can do."""
    series = 10.0 + np.sin(np.arange(CANARY_POINTS) / 3.0)
    return ForecastTask(histories=(series,), horizon=1, deadline_s=deadline_s)
