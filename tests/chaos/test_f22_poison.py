"""F22: a row that breaks the model costs little, then nothing but its own time; one that ends the
worker is refused."""

import asyncio
import math
import random
import threading
import time

import pytest

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.lanes import Told, command_of, ready_again, replay, resume
from tests.chaos.reference import Reference, post
from tests.chaos.swarm import Connection
from tests.chaos.test_f21_nan import together
from tests.faulty_models import EXIT, RAISE
from tests.told_models import STEPS
from xlstmd.engine.suspects import CRASHES, FAILURES

ROWS = 16
SECONDS = 2.0
# Two cores that others use too; printed beside it.
LEAST_THROUGHPUT = 0.5


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told", "told", base="small")


@pytest.fixture
def daemon(new_daemon, told):
    made = new_daemon(command=command_of(told))
    made.start()
    return made


def runs_of(told):
    """Gives the size of each call of the model, and whether it broke."""
    lines = [line.split() for line in told.notes(STEPS)]
    return [(int(rows), how == "broken") for rows, how in lines]


def new_sessions(forecaster, client, daemon, count):
    """Gives sessions of the model that have taken a step."""
    sessions = [Fed(Reference(forecaster, f"good-{n}")) for n in range(count)]
    for fed in sessions:
        fed.reference.next([1.0, 2.0, 0.5], horizon=3, model="told")
        fed.take(post(client, daemon, fed.reference.bodies[-1]).json())
    return sessions


def turn(daemon, told, sessions, poison, rng):
    """Lets a poisonous step be computed among others; gives the calls of the model."""
    for fed in sessions:
        fed.reference.next([rng.gauss(0.0, 1.0)], horizon=3)
    bodies = [fed.reference.bodies[-1] for fed in sessions]
    place = rng.randrange(ROWS)
    bodies.insert(place, poison)
    told.forget(STEPS)
    answers = asyncio.run(together(daemon, bodies))
    status, _, problem = answers.pop(place)
    assert (status, problem["code"], problem["state_advanced"]) == (500, "internal", False)
    for fed, (status, _, answer) in zip(sessions, answers, strict=True):
        assert status == 200, answer
        fed.take(answer)
    # The first call held the lane up.
    return runs_of(told)[1:]


def test_f22_a_poisonous_row_is_found_by_halving_and_then_goes_alone(daemon, told, forecaster):
    rng = random.Random(22)
    poison = {"session": "bad", "seq": 1, "append": [RAISE], "horizon": 3, "model": "told"}
    with daemon.client() as client:
        sessions = new_sessions(forecaster, client, daemon, ROWS - 1)
        for number in range(FAILURES):
            runs = turn(daemon, told, sessions, poison, rng)
            broken = [rows for rows, is_broken in runs if is_broken]
            print(f"\nF22: {ROWS} rows: {len(runs)} calls, of {[rows for rows, _ in runs]}", end="")
            assert runs[0] == (ROWS, True)
            # Each halving breaks once, and computes the other half.
            assert len(broken) == 1 + math.log2(ROWS)
            assert len(runs) == 1 + 2 * math.log2(ROWS)
            assert daemon.total("xlstmd_poison_isolated_total", model="told") == number + 1
        assert daemon.total("xlstmd_suspect_sessions", model="told") == 1
        for _ in range(2):
            runs = turn(daemon, told, sessions, poison, rng)
            # The others go together, but for those that came before it.
            assert [rows for rows, is_broken in runs if is_broken] == [1]
            assert sum(rows for rows, _ in runs) == ROWS
            assert len(runs) <= 3
        for fed in sessions:
            fed.reference.check(client, daemon)
        compare_throughput(daemon, told, sessions, poison)
        # A step that goes well clears it.
        answer = post(client, daemon, {**poison, "append": [1.0]})
        assert answer.status_code == 200
        assert daemon.total("xlstmd_suspect_sessions", model="told") == 0
    daemon.assert_idle()


def compare_throughput(daemon, told, sessions, poison):
    """Measures how much the others get done, without and with somebody who sends poison."""
    alone = throughput(daemon, sessions)
    stopping, sent = threading.Event(), []

    def pester():
        with daemon.client() as client:
            while not stopping.is_set():
                sent.append(post(client, daemon, poison).status_code)

    told.forget(STEPS)
    thread = threading.Thread(target=pester)
    thread.start()
    beside = throughput(daemon, sessions)
    stopping.set()
    thread.join()
    broken = [rows for rows, is_broken in runs_of(told) if is_broken]
    print(f"\nF22: {alone:.0f} steps a second, {beside:.0f} beside {len(sent)} poisonous ones")
    assert set(sent) == {500}
    assert broken == [1] * len(sent)
    assert beside >= LEAST_THROUGHPUT * alone


def throughput(daemon, sessions):
    """Feeds sessions, each over a connection of its own; gives steps a second."""

    async def feed(fed, until_s):
        connection = Connection(daemon.port)
        while time.monotonic() < until_s:
            body = fed.reference.next([1.0, 0.5])
            status, _, answer = await connection.post(body)
            daemon.note_sent()
            assert status == 200, answer
            fed.take(answer)
            done.append(1)
        await connection.close()

    async def feed_all():
        until_s = time.monotonic() + SECONDS
        await asyncio.gather(*(feed(fed, until_s) for fed in sessions))

    done = []
    asyncio.run(feed_all())
    return len(done) / SECONDS


def test_f22_who_ends_the_worker_again_and_again_is_refused(daemon, told, forecaster):
    poison = {"session": "bad", "seq": 1, "append": [EXIT], "horizon": 3, "model": "told"}
    with daemon.client() as client:
        sessions = new_sessions(forecaster, client, daemon, 4)
        for crash in range(CRASHES):
            answer = post(client, daemon, poison)
            assert (answer.status_code, answer.json()["code"]) == (503, "lane_down")
            ready_again(daemon)
            assert daemon.total("xlstmd_lane_restarts_total", model="told") == crash + 1
        for fed in sessions:
            resume(client, fed)
            replay(client, daemon, fed)
        for _ in range(20):
            answer = post(client, daemon, poison)
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (500, "internal")
            assert f"ended it {CRASHES} times" in problem["detail"]
            assert "refused for" in problem["detail"]
            assert problem["state_advanced"] is False
            for fed in sessions:
                fed.reference.next([2.0], horizon=3)
                fed.take(post(client, daemon, fed.reference.bodies[-1]).json())
        assert daemon.probe("/readyz") == 200
        assert daemon.total("xlstmd_lane_restarts_total", model="told") == CRASHES
        until(lambda: daemon.total("xlstmd_suspect_sessions", model="told") == 1, 5.0)
    daemon.assert_idle()
