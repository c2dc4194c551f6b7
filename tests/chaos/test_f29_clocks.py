"""F29 and F30: whoever sets the wall clock, or suspends the machine, ends no session and makes
nobody wait. Idle time is time in which the engine ran."""

import asyncio
import json
import random
import signal
import time
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial

import pytest
from websockets.sync.client import connect

from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append
from tests.engine.streams import FakeStreamModel, key, new_engine
from tests.engine.streams import Replay as FakeReplay
from tests.engine.streams import assert_same as assert_same_bits
from tests.engine.streams import step as fake_step
from tests.fakes import ManualClock
from xlstmd.engine.sessions import EngineSessions
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import SessionExpired

HOUR_S = 3600.0
YEARS_S = 10 * 365 * 24 * HOUR_S
SUSPEND_S = 600.0
JUMPS = [HOUR_S, -HOUR_S, YEARS_S, -YEARS_S, 0.4, -0.4, 1.0, SUSPEND_S, 0.0]
IDLE_S = 100.0
NS_PER_S = 1_000_000_000


def test_f29_wall_clock_of_a_daemon(new_daemon, forecaster, tmp_path):
    shift, rng = tmp_path / "shift", random.Random(29)
    shift.write_text("0")
    command = ("-m", "tests.chaos.shifted_daemon", str(shift))
    # A session without a request for an hour would end: nobody may think that it was one.
    daemon = new_daemon(command=command, session_idle_s=HOUR_S / 2, snapshot_interval_s=0.1)
    daemon.start()
    sessions = [Reference(forecaster, f"s{n}", durable=n == 0) for n in range(20)]
    idle = Reference(forecaster, "idle")
    with daemon.client() as client:
        assert_same(post(client, daemon, idle.next([1.0, 2.0], horizon=3)).json(), idle.expected[0])
    for number, jump in enumerate(JUMPS):
        with daemon.client() as client, connect(daemon.stream_url) as stream:
            stream.recv(10.0)
            for is_set in (False, True):
                if is_set:
                    shift.write_text(str(jump))
                for one in sessions:
                    began = time.monotonic()
                    take_step(client, stream, daemon, one, rng)
                    assert time.monotonic() - began < 1.0
            assert_times(client, sessions[0], jump)
            time.sleep(0.3)
            assert daemon.total("xlstmd_snapshot_age_seconds") < 1.0
            assert not daemon.total("xlstmd_session_evictions_total", reason="idle")
        daemon.assert_idle()
        if number % 3 == 2:
            daemon.stop()
            daemon.start()
    with daemon.client() as client:
        for one in (idle, *sessions):
            one.check(client, daemon)


def take_step(client, stream, daemon, reference, rng):
    """Takes a step by HTTP with a deadline, or by a frame."""
    points, more = random_append(rng, first=reference.seq == 0)
    body = reference.next(points, **more)
    if rng.random() < 0.5:
        answer = post(client, daemon, body, **{"x-deadline-ms": "5000"})
        assert answer.status_code == 200, answer.text
        taken = answer.json()
    else:
        stream.send(json.dumps(body))
        taken = json.loads(stream.recv(10.0))
        daemon.note_sent()
    assert_same(taken, reference.expected[-1])


def assert_times(client, reference, jump):
    """Holds what is shown of a session to the wall clock as it is set."""
    shown = client.get(f"{SESSIONS}/{reference.name}").json()
    used = datetime.fromisoformat(shown["last_used"]).timestamp()
    assert abs(used - (time.time() + jump)) < 5.0
    datetime.fromisoformat(shown["created"])


def test_f30_daemon_that_stood_still(new_daemon, forecaster):
    daemon, rng = new_daemon(snapshot_interval_s=0.1), random.Random(30)
    daemon.start()
    sessions = [Reference(forecaster, f"s{n}") for n in range(50)]
    with daemon.client() as client, connect(daemon.stream_url) as stream:
        stream.recv(10.0)
        for one in sessions:
            take_step(client, stream, daemon, one, rng)
        # Everything of it stands still, and its clocks with those that wait for it go on.
        daemon.signal(signal.SIGSTOP)
        body = sessions[0].next([1.0], horizon=2)
        stream.send(json.dumps(body))
        time.sleep(3.0)
        daemon.signal(signal.SIGCONT)
        assert_same(json.loads(stream.recv(10.0)), sessions[0].expected[-1])
        daemon.note_sent()
        for one in sessions:
            take_step(client, stream, daemon, one, rng)
    assert not daemon.total("xlstmd_session_evictions_total")
    daemon.assert_idle()


class Clocks:
    """A wall clock and a monotonic one, each moved by itself."""

    def __init__(self):
        self.monotonic = ManualClock()
        self.wall_s = time.time()

    def wall_ns(self):
        return round(self.wall_s * NS_PER_S)


@pytest.fixture
def clocks(monkeypatch):
    """Gives clocks, and makes all engines of the test go by the wall clock among them."""
    made = Clocks()
    sessions = partial(EngineSessions, wall_ns=made.wall_ns)
    monkeypatch.setattr("xlstmd.engine.engine.EngineSessions", sessions)
    return made


@asynccontextmanager
async def engine_of(folder, clocks):
    """Gives the sessions of an engine that goes by these clocks, and drains it."""
    store = SqliteStore(StoreFolder(folder), clock=clocks.monotonic)
    # The lane gives its signs in true seconds, which are none for this clock.
    engine = new_engine(
        FakeStreamModel(),
        store=store,
        session_idle_s=IDLE_S,
        lane_timeout_s=1e9,
        clock=clocks.monotonic,
    )
    await engine.start()
    try:
        yield engine.sessions
    finally:
        await engine.drain(5.0)


def run(work):
    asyncio.run(asyncio.wait_for(work, 60.0))


@pytest.mark.parametrize("jump", JUMPS)
def test_f29_wall_clock_of_an_engine(jump, tmp_path, clocks):
    async def work():
        async with engine_of(tmp_path, clocks) as sessions:
            tasks = {n: [fake_step(f"s{n}", 1, float(n))] for n in range(30)}
            for (task,) in tasks.values():
                await sessions.append(task)
            clocks.wall_s += jump
            await keep_for(sessions, clocks, IDLE_S / 2)
            for n, taken in tasks.items():
                taken.append(fake_step(f"s{n}", 2, 2.0))
                assert_same_bits(await sessions.append(taken[-1]), replayed(taken))
            # A stream that takes the place of another one is told from it, whatever the wall says.
            before = (await sessions.info(key("s0"))).created_ns
            await sessions.append(fake_step("s0", 1, 7.0, reset=True))
            assert (await sessions.info(key("s0"))).created_ns > before

    run(work())


def replayed(tasks):
    """Gives the last answer of a stream of the test's own."""
    replay = FakeReplay(FakeStreamModel())
    return [replay(task) for task in tasks][-1]


async def keep_for(sessions, clocks, seconds):
    """Lets the background work while the monotonic clock goes on."""
    for _ in range(10):
        clocks.monotonic.advance(seconds / 10)
        await sessions.keep()


@pytest.mark.parametrize("jump", JUMPS)
def test_f29_idle_ages_survive_a_restart(jump, tmp_path, clocks):
    async def work():
        async with engine_of(tmp_path, clocks) as sessions:
            for name in ("old", "young"):
                await sessions.append(fake_step(name, 1, 1.0))
            await keep_for(sessions, clocks, 0.6 * IDLE_S)
            await sessions.append(fake_step("young", 2, 1.0))
        # The machine was off, and somebody has set its clock; the monotonic one began anew.
        clocks.wall_s += jump
        clocks.monotonic.now = 3.0
        async with engine_of(tmp_path, clocks) as sessions:
            await keep_for(sessions, clocks, 0.3 * IDLE_S)
            assert (await sessions.info(key("old"))).seq == 1
            await keep_for(sessions, clocks, 0.2 * IDLE_S)
            assert (await sessions.info(key("young"))).seq == 2
            with pytest.raises(SessionExpired) as caught:
                await sessions.append(fake_step("old", 2, 1.0))
            assert caught.value.reason == "idle"

    run(work())


def test_f30_suspended_machine(tmp_path, clocks):
    """CLOCK_MONOTONIC does not count a suspension, and nobody could have come in it."""

    async def work():
        async with engine_of(tmp_path, clocks) as sessions:
            for n in range(30):
                await sessions.append(fake_step(f"s{n}", 1, float(n)))
            await sessions.keep()
            clocks.wall_s += 10 * SUSPEND_S
            await sessions.keep()
            clocks.monotonic.advance(0.9 * IDLE_S)
            await sessions.keep()
            for n in range(30):
                result = await sessions.append(fake_step(f"s{n}", 2, 1.0, deadline_s=30.0))
                assert (result.seq, result.queue_ms >= 0.0) == (2, True)

    run(work())
