"""Streams for tests of sessions: a fake model whose state tells all it has seen, and a replay."""

import asyncio
import threading
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import blake2b

import numpy as np

from tests.fakes import POISON, EchoModel
from xlstmd.engine.engine import Engine
from xlstmd.engine.lane import ThreadLane
from xlstmd.engine.session_record import SessionKey, SessionRecord, Tombstone
from xlstmd.engine.session_tasks import AppendTask
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.store import StoreStatus
from xlstmd.errors import InputError, SnapshotDamaged, StoreFailed, StoreFull
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.stream_step import StreamAnswer, StreamStep

REFUSED = 555.0
NAN_MAKER = 777.0
LEVELS = (0.1, 0.5, 0.9)
SLOT_BYTES = 32


class FakeArena:
    """Slots of four numbers: a mix of all points, their count, the last one, a rest."""

    def __init__(self, slots):
        self.state = np.zeros((slots, 4))

    def clear(self, slot):
        self.state[slot] = 0.0

    def copy(self, source, target):
        self.state[target] = self.state[source]

    def export(self, slot):
        return {"state": self.state[slot : slot + 1].copy()}

    def restore(self, slot, arrays):
        array = arrays.get("state")
        if array is None or array.shape != (1, 4):
            raise SnapshotDamaged("a state of four numbers", "none")
        self.state[slot] = array[0]


class FakeHost:
    """Runs steps; a poisonous point breaks the whole call after all slots were written."""

    def __init__(self, slots, model=None):
        self.arena = FakeArena(slots)
        self._model = model

    def run(self, steps):
        if self._model is not None:
            self._model.enter(steps)
        answers = [self._step(step) for step in steps]
        if any((step.values == POISON).any() for step in steps):
            raise RuntimeError("poison")
        return answers

    def _step(self, step):
        state = self.arena.state[step.slot]
        scores = []
        for value in np.nan_to_num(step.values):
            scores.append(value - state[2])
            state[:3] = 0.75 * state[0] + np.sin(value), state[1] + 1, value
        error = None
        if (step.values == REFUSED).any():
            error = InputError("values", "something else", "that", code="out_of_range")
        forecast = None
        if step.horizon:
            mean = state[0] + np.cos(state[1] + np.arange(step.horizon))[None]
            if (step.values == NAN_MAKER).any():
                mean[0, -1] = np.nan
            forecast = QuantileForecast(
                mean=mean,
                median=mean + 1.0,
                quantiles=mean[..., None] + np.array(step.quantile_levels),
                quantile_levels=step.quantile_levels,
                mean_method="quantile_integral",
            )
        given = None
        if step.anomaly_rate is not None:
            surprise = np.array(scores)
            given = AnomalyScores(
                quantile=surprise * 2.0, surprise=surprise, flag=surprise > step.anomaly_rate
            )
        return StreamAnswer(observed=int(state[1]), forecast=forecast, scores=given, error=error)


class FakeStreamModel(EchoModel):
    """A model that can be fed; computes only while `release` is set."""

    slot_bytes = SLOT_BYTES

    def __init__(self, name="echo", version="1", fingerprint="f1"):
        super().__init__(name, version)
        self.fingerprint = fingerprint
        self.batches = []
        self.hosts = []
        self.release = threading.Event()
        self.release.set()
        self.entered = threading.Event()

    def streams(self, slots):
        self.hosts.append(FakeHost(slots, self))
        return self.hosts[-1]

    def enter(self, steps):
        self.batches.append([step.values.tolist() for step in steps])
        self.entered.set()
        if not self.release.wait(20.0):
            raise TimeoutError("nobody released the model")

    async def until_entered(self):
        """Waits until the model is being called, then forgets it."""
        await asyncio.to_thread(self.entered.wait, 5.0)
        self.entered.clear()


class Replay:
    """A stream of its own that takes every step that was accepted."""

    def __init__(self, model):
        self.host = FakeHost(1) if isinstance(model, FakeStreamModel) else model.streams(1)

    def __call__(self, task):
        step = StreamStep(
            slot=0,
            values=task.values,
            horizon=task.horizon,
            quantile_levels=task.quantile_levels,
            anomaly_rate=task.anomaly_rate,
        )
        (answer,) = self.host.run([step])
        assert answer.error is None
        return answer


def key(name="s", tenant="t"):
    return SessionKey(tenant, "forecast", name)


def step(name, seq, *values, tenant="t", horizon=3, levels=LEVELS, rate=0.1, **more):
    """Gives a request, with the hash of all of it."""
    array = np.array(values, dtype=np.float64)
    text = f"{tenant} {name} {seq} {array.tobytes()} {horizon} {levels} {rate} {more}"
    return AppendTask(
        key=key(name, tenant),
        seq=seq,
        values=array,
        horizon=horizon,
        quantile_levels=levels,
        anomaly_rate=rate,
        request_hash=blake2b(text.encode(), digest_size=16).digest(),
        **more,
    )


def ask(name, *, tenant="t", **more):
    """Gives a request that only asks."""
    return step(name, None, tenant=tenant, rate=None, **more)


def assert_same(result, answer):
    """Compares two answers to the bit."""
    assert result.observed == answer.observed
    for name in ("mean", "median", "quantiles"):
        one, other = (getattr(each.forecast, name, None) for each in (result, answer))
        assert (one is None) == (other is None)
        assert one is None or one.tobytes() == other.tobytes()
    assert (result.scores is None) == (answer.scores is None)
    if result.scores is not None:
        for name in ("quantile", "surprise", "flag"):
            one, other = getattr(result.scores, name), getattr(answer.scores, name)
            assert one.tobytes() == other.tobytes()


class MemoryStore:
    """A store that can be told to fail; what it holds outlives the engine."""

    def __init__(self):
        self.held = {}
        self.commits = []
        self.durable_commits = 0
        self.failing = False
        self.unreadable = False
        self.held_back = None
        self.aged_s = 0.0

    def commit(self, changes, *, durable=False):
        done = Future()
        if self.failing:
            done.set_exception(StoreFull("the store takes no writes now: full"))
            return done
        if self.held_back is not None:
            self.held_back.append((done, list(changes)))
            return done
        self.durable_commits += durable
        self._write(changes)
        done.set_result(None)
        return done

    def let_go(self):
        """Writes what was held back."""
        waiting, self.held_back = self.held_back, None
        for done, changes in waiting:
            self._write(changes)
            done.set_result(None)

    def _write(self, changes):
        self.commits.append([(change.key.id, getattr(change, "seq", None)) for change in changes])
        for change in changes:
            self.held[change.key] = change

    def read(self, key):
        done = Future()
        if self.unreadable:
            done.set_exception(StoreFailed("the store of sessions cannot be read"))
            return done
        found = self.held.get(key)
        if isinstance(found, SessionRecord):
            found = replace(found, idle_s=found.idle_s + self.aged_s)
        done.set_result(found)
        return done

    def idle(self, *, longer_than_s, limit):
        done = Future()
        done.set_result(
            [
                one
                for one in self.held.values()
                if isinstance(one, SessionRecord) and one.idle_s + self.aged_s > longer_than_s
            ][:limit]
        )
        return done

    def status(self):
        live = [one for one in self.held.values() if isinstance(one, SessionRecord)]
        return StoreStatus(
            sessions=len(live),
            session_bytes=sum(one.nbytes for one in live),
            tombstones=len(self.held) - len(live),
            disk_bytes=0,
            log_bytes=0,
            waiting_bytes=0,
            fallbacks=0,
            failures=0,
            error=None,
        )

    def close(self, timeout_s):
        """Has nothing to close."""

    def seq(self, name):
        """Gives the stored seq of a session; the reason of a tombstone."""
        found = self.held.get(key(name))
        return found.reason.value if isinstance(found, Tombstone) else getattr(found, "seq", None)


QUIET = {"canary_interval_s": 3600.0, "snapshot_interval_s": 3600.0}


def new_engine(*models, store=None, rooms=64, **more):
    """Gives an engine with room for so many sessions, and nothing that runs by itself."""
    clock = {"clock": more.pop("clock")} if "clock" in more else {}
    lanes = more.pop("lanes", None) or [ThreadLane(model, **clock) for model in models]
    bounds = {**QUIET, "session_bytes": rooms * models[0].slot_bytes, **more}
    return Engine(lanes, EngineSettings(**bounds), store=store, **clock)


@asynccontextmanager
async def running(*models, **more):
    """Gives a running engine, and drains it."""
    engine = new_engine(*models, **more)
    await engine.start()
    try:
        yield engine.sessions
    finally:
        for model in models:
            if isinstance(model, FakeStreamModel):
                model.release.set()
        await engine.drain(5.0)


@asynccontextmanager
async def killed(*models, **more):
    """Gives a running engine that ends without a word, as a process that is killed."""
    engine = new_engine(*models, **more)
    await engine.start()
    try:
        yield engine.sessions
    finally:
        engine._watcher.cancel()
        engine.sessions._keeper._task.cancel()
        for arena in engine.sessions._parts.arenas.values():
            await arena.stop()
        for batcher in engine._batchers.values():
            await batcher.stop(1.0)
