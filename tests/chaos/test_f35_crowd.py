"""F35 and F36: ten thousand sessions of which some are active, and all of them at once after a
restart."""

import asyncio
import math
import random
import time

import numpy as np
import pytest

from tests.chaos.daemon import until
from tests.chaos.reference import Reference, assert_same
from tests.chaos.swarm import Connection, Swarm, room_for

SESSIONS = 10_000
ACTIVE = 1_000
SLOTS = 1_200
SECONDS = 8
CONNECTIONS = 64

HERD = 4_000
HERD_SLOTS = 500
HERD_INSIDE = 400
RESTORES = 16
FULL_SERVICE_S = 60.0

# So many kinds of sessions there are; those of a kind take the same steps.
KINDS = 16
POINTS = 64

# Of each session that is stored alone the daemon may keep nothing; Python's and SQLite's tables
# grow in steps.
GROWTH_BYTES = 8 * 2**20


class Crowd:
    """Sessions by number, of some kinds; one reference for each kind."""

    def __init__(self, forecaster):
        rng = random.Random(35)
        self._rng = rng
        self.kinds = [Reference(forecaster, f"kind-{n}") for n in range(KINDS)]
        self.add_step(POINTS)

    def add_step(self, points, **more):
        """Adds the next step of every session."""
        for kind in self.kinds:
            kind.next([self._rng.gauss(0.0, 1.0) for _ in range(points)], **more)

    def body(self, number, seq):
        """Gives a step of a session."""
        return {**self.kinds[number % KINDS].bodies[seq - 1], "session": f"s{number}"}

    def check(self, number, seq, answer):
        """Holds an answer to the kind's."""
        assert_same(answer, self.kinds[number % KINDS].expected[seq - 1])


@pytest.fixture
def crowd(forecaster):
    return Crowd(forecaster)


async def create(daemon, crowd, count):
    """Begins so many sessions."""
    async with Swarm(daemon, CONNECTIONS) as swarm:

        async def begin(number):
            crowd.check(number, 1, await swarm.post(crowd.body(number, 1)))

        await asyncio.gather(*(begin(number) for number in range(count)))


def settled(daemon, count):
    return daemon.total("xlstmd_sessions", tier="stored") == count


def test_f35_idle_sessions_beside_active_ones(new_daemon, forecaster, crowd):
    daemon = new_daemon(session_bytes=SLOTS * forecaster.slot_bytes)
    daemon.start()
    asyncio.run(create(daemon, crowd, SLOTS + 100))
    until(lambda: settled(daemon, SLOTS + 100), 20.0)
    daemon.note_baseline()
    began = time.perf_counter()
    asyncio.run(create_rest(daemon, crowd))
    until(lambda: settled(daemon, SESSIONS), 30.0)
    print(f"\nF35: {SESSIONS} sessions in {time.perf_counter() - began:.1f} s, ", end="")
    assert daemon.total("xlstmd_sessions", tier="hot") <= SLOTS
    assert daemon.total("xlstmd_session_evictions_total", reason="spilled") >= SESSIONS - SLOTS
    _, resident = daemon.baseline
    grown = daemon.resident() - resident
    print(f"{grown / 2**20:.1f} MiB more than with {SLOTS + 100}")
    assert grown <= GROWTH_BYTES
    for _ in range(SECONDS):
        crowd.add_step(1, horizon=1)
    latencies = asyncio.run(feed_active(daemon, crowd))
    show(daemon, latencies)
    daemon.assert_idle()
    # What a thousand connections took goes with them.
    until(lambda: daemon.resident() - resident <= GROWTH_BYTES, 20.0)
    assert daemon.total("xlstmd_sessions", tier="hot") <= SLOTS


async def create_rest(daemon, crowd):
    async with Swarm(daemon, CONNECTIONS) as swarm:

        async def begin(number):
            crowd.check(number, 1, await swarm.post(crowd.body(number, 1)))

        await asyncio.gather(*(begin(number) for number in range(SLOTS + 100, SESSIONS)))


async def feed_active(daemon, crowd):
    """Feeds some sessions once a second each, in fixed moments; gives seconds by step."""
    taken, latencies = [], []
    async with Swarm(daemon, CONNECTIONS) as swarm:
        start = time.perf_counter() + 0.1

        async def feed(number):
            for turn in range(SECONDS):
                due = start + turn + number / ACTIVE
                answer, seconds = await swarm.post_at(due, crowd.body(number, turn + 2))
                taken.append((number, turn + 2, answer))
                latencies.append((turn, seconds))

        await asyncio.gather(*(feed(number) for number in range(ACTIVE)))
    for step in taken:
        crowd.check(*step)
    return latencies


def show(daemon, latencies):
    """Prints what is not for a test to judge."""
    for name, turns in (("first steps, from the store", (0,)), ("later ones", range(1, SECONDS))):
        times = [1000.0 * seconds for turn, seconds in latencies if turn in turns]
        middle, tail = np.percentile(times, [50, 99])
        print(f"F35: {name}: p50 {middle:.1f} ms, p99 {tail:.1f} ms, slowest {max(times):.1f} ms")
    print(f"F35: restores: 99 % within {1000.0 * restore_bound(daemon):g} ms")


def restore_bound(daemon, share=0.99):
    """Gives the bound of the histogram under which so many restores lie."""
    name = "xlstmd_session_restore_seconds"
    count = daemon.total(f"{name}_count")
    buckets = [
        (float(one.labels["le"]), one.value)
        for one in daemon.metrics()
        if one.name == f"{name}_bucket"
    ]
    return min(bound for bound, value in buckets if value >= share * count)


def test_f36_thundering_herd(new_daemon, forecaster, crowd):
    count = room_for(HERD)
    daemon = new_daemon(
        session_bytes=HERD_SLOTS * forecaster.slot_bytes,
        max_queue_rows=HERD_INSIDE,
        max_restores=RESTORES,
        max_connections=count + CONNECTIONS,
    )
    daemon.start()
    asyncio.run(create(daemon, crowd, count))
    until(lambda: settled(daemon, count), 20.0)
    daemon.kill()
    daemon.start()
    crowd.add_step(5, horizon=3, anomaly_rate=0.1)
    herd = Herd(daemon, crowd)
    took = asyncio.run(herd.rush(count))
    waits = sorted(herd.waits)
    print(f"\nF36: {count} clients served in {took:.1f} s, {len(waits)} refusals, ", end="")
    print(f"told to wait {waits[0] if waits else 0:g} to {waits[-1] if waits else 0:g} s, ", end="")
    print(f"slowest probe {herd.slowest_probe:.2f} s")
    assert took <= FULL_SERVICE_S
    assert daemon.total("xlstmd_session_restore_seconds_count") >= count
    assert daemon.total("xlstmd_sessions", tier="hot") <= HERD_SLOTS
    # Refused together, they are not told to come back together.
    assert waits
    most = max(waits.count(wait) for wait in set(waits))
    assert most <= 0.5 * len(waits), {wait: waits.count(wait) for wait in set(waits)}
    asyncio.run(look_again(daemon, crowd, count))
    daemon.assert_idle()


async def look_again(daemon, crowd, count):
    """Sends the last step of every session again: each has taken it, once."""
    async with Swarm(daemon, CONNECTIONS) as swarm:

        async def repeat(number):
            crowd.check(number, 2, await swarm.post(crowd.body(number, 2)))

        await asyncio.gather(*(repeat(number) for number in range(count)))


class Herd:
    """Clients that all come within a second, and wait for as long as they are told.

    Attributes:
      waits: seconds that they were told.
      slowest_probe: seconds for which a supervisor had to wait at most.
    """

    def __init__(self, daemon, crowd):
        self._daemon = daemon
        self._crowd = crowd
        self._rng = random.Random(36)
        self.waits = []
        self.slowest_probe = 0.0

    async def rush(self, count):
        """Brings all; gives the seconds until the last one was served."""
        probing = asyncio.create_task(self._probe())
        began = time.perf_counter()
        try:
            async with asyncio.timeout(2.0 * FULL_SERVICE_S):
                await asyncio.gather(*(self._come(number) for number in range(count)))
        finally:
            probing.cancel()
        return time.perf_counter() - began

    async def _come(self, number):
        await asyncio.sleep(self._rng.random())
        connection = Connection(self._daemon.port)
        try:
            while not await self._is_served(connection, number):
                continue
        finally:
            await connection.close()

    async def _is_served(self, connection, number):
        try:
            status, headers, answer = await connection.post(self._crowd.body(number, 2))
        except (OSError, EOFError):
            # Whether it was counted is open; it says nothing of the step.
            await asyncio.sleep(self._rng.uniform(0.5, 1.5))
            return False
        self._daemon.note_sent()
        if status == 200:
            self._crowd.check(number, 2, answer)
            return True
        assert (status, answer["code"], answer["state_advanced"]) == (503, "overloaded", False)
        self.waits.append(int(headers["retry-after"]))
        assert 1 <= self.waits[-1] <= math.ceil(FULL_SERVICE_S)
        await asyncio.sleep(self.waits[-1])
        return False

    async def _probe(self):
        while True:
            began = time.perf_counter()
            assert await asyncio.to_thread(self._daemon.probe, "/livez") == 200
            self.slowest_probe = max(self.slowest_probe, time.perf_counter() - began)
            await asyncio.sleep(0.1)
