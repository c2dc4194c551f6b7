"""F2 with much at stake: long steps, large answers, long queues, clients that leave, a drain."""

import asyncio
import contextlib
import os
import random
import signal
import threading
import time

import httpx
import pytest

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.lanes import (
    TimedConnection,
    Told,
    assert_down,
    assert_no_process_left,
    command_of,
    forecast,
    ready_again,
    replay,
    resume,
)
from tests.chaos.reference import SESSIONS, Reference, post, random_append
from tests.chaos.swarm import room_for
from tests.chaos.test_f11_disconnect import hang_up, send
from tests.faulty_models import NAP
from tests.told_models import STEPS
from xlstmd.engine.engine import SAVE_S
from xlstmd.engine.stream_work import PORTION_POINTS
from xlstmd.server.append import APPEND_PATH
from xlstmd.server.forecast import FORECAST_PATH

LONGEST_S = 0.2
# Slots of a model that only echoes are tiny: some thousands of them.
ECHO_BYTES = 2**17
QUEUED = 3_000
DEATHS = 25
DRAIN_S = 3.0
# To end lanes, close the store, and leave.
LEAVE_S = 3.0


def started(new_daemon, told, **settings):
    command = command_of(told, is_alone=True, longest_s=LONGEST_S)
    made = new_daemon(command=command, **settings)
    made.start()
    return made


@pytest.fixture
def echo(tmp_path):
    return Told(tmp_path / "echo", "echo")


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told", "told", base="small")


def in_thread(ask):
    """Asks beside the test; gives the thread and where the answer will be."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    return thread, answers


def test_f02_death_between_two_portions_of_a_long_step(new_daemon, told, forecaster):
    daemon = started(new_daemon, told)
    rng = random.Random(203)
    with daemon.client() as client:
        for portions in (2, 5):
            fed = Fed(Reference(forecaster, f"long-{portions}"))
            fed.reference.next([1.0, 2.0, 3.0], horizon=3)
            fed.take(post(client, daemon, fed.reference.bodies[0]).json())
            until(lambda name=fed.reference.name: durable_seq(client, name) == 1, 10.0)
            points = [rng.gauss(0.0, 1.0) for _ in range(12 * PORTION_POINTS)]
            fed.reference.next(points, horizon=3, anomaly_rate=0.1)
            die_amid(daemon, told, fed, portions)
            resume(client, fed)
            assert fed.answered == 1
            replay(client, daemon, fed)
    daemon.assert_idle()


def die_amid(daemon, told, fed, portions):
    """Kills the lane when it has taken in some portions of a step."""
    told.forget(STEPS)
    thread, answers = in_thread(lambda: post_alone(daemon, fed.reference.bodies[-1]))
    until(lambda: len(told.notes(STEPS)) >= portions, 20.0)
    os.kill(told.pid, signal.SIGKILL)
    thread.join()
    assert_down((answers[0].status_code, answers[0].headers, answers[0].json()))
    ready_again(daemon)


def durable_seq(client, name):
    return client.get(f"{SESSIONS}/{name}").json()["durable_seq"]


def post_alone(daemon, body):
    with daemon.client() as client:
        return post(client, daemon, body)


def test_f02_death_under_a_large_answer(new_daemon, echo):
    daemon = started(new_daemon, echo, session_bytes=ECHO_BYTES)
    # Close to all that an answer may have: five million numbers.
    levels = [(number + 1) / 100.0 for number in range(98)]
    task = {"series": [[1.0, 2.0]] * 50, "horizon": 1_000, "quantile_levels": levels}
    accept = {"accept": "application/msgpack", "connection": "close"}

    def ask():
        url = daemon.url + FORECAST_PATH
        return httpx.post(url, json=task, headers=accept, timeout=60.0)

    nbytes = len(ask().content)
    assert nbytes > 30_000_000
    daemon.note_baseline()
    files, resident = daemon.baseline
    rng = random.Random(204)
    codes = set()
    for _ in range(6):
        thread, answers = in_thread(ask)
        time.sleep(rng.random() * 0.2)
        os.kill(echo.pid, signal.SIGKILL)
        thread.join()
        codes.add(answers[0].status_code)
        assert answers[0].status_code in (200, 503)
        ready_again(daemon)
    assert 503 in codes
    assert ask().status_code == 200
    until(lambda: daemon.files() <= files, 10.0)
    assert daemon.resident() <= resident + nbytes
    daemon.assert_idle()


def test_f02_death_with_thousands_in_line(new_daemon, echo):
    count = room_for(QUEUED)
    daemon = started(new_daemon, echo, session_bytes=ECHO_BYTES, max_connections=count + 50)
    twice = [asyncio.run(fail_all(daemon, echo, count)) for _ in range(2)]
    daemon.assert_idle()
    for late in twice:
        print(f"\nF2: {count} requests in line failed within {1000 * late:.0f} ms", end="")
    assert_no_process_left(daemon, 1)


async def fail_all(daemon, echo, count):
    """Has so many requests wait for a lane, and kills it; gives when the last one was told."""
    connections = [TimedConnection(daemon) for _ in range(count)]
    nap = {"session": f"nap-{random.random()}", "seq": 1, "append": [NAP]}
    held = asyncio.create_task(connections[0].post(nap))
    await asyncio.sleep(0.2)
    waiting = [
        asyncio.create_task(
            one.post({"session": f"s{n}-{random.random()}", "seq": 1, "append": [1]})
        )
        for n, one in enumerate(connections[1:])
    ]
    killing = asyncio.create_task(asyncio.to_thread(kill_when_full, daemon, echo, count))
    answers = await asyncio.gather(held, *waiting)
    died_at = await killing
    fine = [one for one in answers if one[0] == 200]
    for answer in answers:
        if answer[0] != 200:
            assert_down(answer)
    assert len(fine) < count
    late = max(one.at for one in connections) - died_at
    ready = await asyncio.to_thread(ready_again, daemon)
    assert ready < 10.0
    # Nothing of it is left: all are taken now.
    again = await asyncio.gather(*(one.post(new_step()) for one in connections[:200]))
    assert {status for status, _, _ in again} == {200}
    await asyncio.gather(*(one.close() for one in connections))
    return late


def new_step():
    return {"session": f"s{random.random()}", "seq": 1, "append": [1.0]}


def kill_when_full(daemon, echo, count):
    deadline = time.monotonic() + 1.0
    while daemon.total("xlstmd_session_requests") < count and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(echo.pid, signal.SIGKILL)
    return time.monotonic()


def test_f02_clients_that_leave_while_the_lane_dies(new_daemon, told, forecaster):
    daemon = started(new_daemon, told)
    rng = random.Random(205)
    sessions = [Fed(Reference(forecaster, f"s{n}")) for n in range(20)]
    with daemon.client() as client:
        for turn in range(3):
            for fed in sessions:
                points, more = random_append(rng, first=turn == 0)
                fed.reference.next(points, **more)
            leave(daemon, told, [fed.reference.bodies[-1] for fed in sessions])
            # Nobody knows what became of a step; sent again, it is taken once.
            for fed in sessions:
                fed.resume(client, time.monotonic())
                replay(client, daemon, fed)
            daemon.sent = int(daemon.counted())
    daemon.assert_idle()


def leave(daemon, told, bodies):
    """Has clients hang up while their lane dies."""
    held = send(daemon, APPEND_PATH, {**new_step(), "append": [NAP]})
    time.sleep(0.2)
    waiting = [send(daemon, APPEND_PATH, body) for body in bodies]
    until(lambda: daemon.total("xlstmd_session_requests") == 1 + len(waiting), 10.0)
    for number, connection in enumerate((held, *waiting)):
        if number == len(waiting) // 2:
            os.kill(told.pid, signal.SIGKILL)
        hang_up(connection, is_reset=number % 2 == 0)
    ready_again(daemon)
    until(lambda: daemon.total("xlstmd_session_requests") == 0, 10.0)


@pytest.mark.parametrize("fate", ["killed", "hangs", "cannot load", "dies in between"])
def test_f02_drain_with_a_lane_that_is_down(new_daemon, echo, fate):
    settings = {"session_bytes": ECHO_BYTES, "drain_timeout_s": DRAIN_S, "lane_timeout_s": 30.0}
    daemon = started(new_daemon, echo, **settings)
    thread, answers = in_thread(lambda: forecast(daemon, series=[[1.0]], horizon=1))
    thread.join()
    pid = echo.pid
    match fate:
        case "killed":
            os.kill(pid, signal.SIGKILL)
        case "hangs":
            os.kill(pid, signal.SIGSTOP)
        case "cannot load":
            echo.tell(load="hang")
            os.kill(pid, signal.SIGKILL)
            until(lambda: len(echo.loads) == 2, 10.0)
    last = NAP if fate == "dies in between" else 1.0
    thread, answers = in_thread(lambda: forecast(daemon, series=[[last]], horizon=1))
    time.sleep(0.3)
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    if fate == "dies in between":
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
    assert daemon.wait(60.0) == 0
    took = time.monotonic() - began
    thread.join()
    print(f"\nF2: {fate}: left {took:.2f} s after SIGTERM, told {answers[0].status_code}", end="")
    assert answers[0].status_code in (200, 503)
    assert took <= (DRAIN_S + SAVE_S if fate == "hangs" else DRAIN_S) + LEAVE_S
    for _, each in echo.loads:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, 0)
            raise AssertionError("a worker outlives its front")


def test_f02_many_deaths_leave_nothing_behind(new_daemon, echo):
    daemon = started(new_daemon, echo, session_bytes=ECHO_BYTES)
    with daemon.client() as client:
        for number in range(DEATHS):
            body = {"session": f"s{number}", "seq": 1, "append": [1.0], "horizon": 3}
            assert post(client, daemon, body).status_code == 200
            if number == 5:
                daemon.note_baseline()
            os.kill(echo.pid, signal.SIGKILL)
            until(lambda: daemon.probe("/readyz") == 503, 1.0)
            ready_again(daemon)
    assert daemon.total("xlstmd_lane_restarts_total") == DEATHS
    assert_no_process_left(daemon, 1)
    daemon.assert_calm()
