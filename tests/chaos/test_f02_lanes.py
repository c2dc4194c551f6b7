"""F2: one lane dies or stands still: its requests fail at once, and nobody else notices."""

import asyncio
import json
import os
import random
import signal
import time

import pytest
from websockets.sync.client import connect

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.lanes import (
    LANE_TIMEOUT_S,
    Bystanders,
    TimedConnection,
    Told,
    assert_down,
    assert_no_process_left,
    check_answer,
    command_of,
    is_gone,
    ready_again,
    replay,
    resume,
)
from tests.chaos.reference import Reference
from tests.faulty_models import EXIT, NAP, SEGFAULT
from tests.told_models import DIED

CLIENTS = 40
AT_ONCE_S = 0.1
# What finds a lane that stands still looks four times a second.
LOOK_S = 0.5
LANES = 2


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told", "told", base="small")


@pytest.fixture
def daemon(new_daemon, told):
    made = new_daemon(
        command=command_of(told), lane_timeout_s=LANE_TIMEOUT_S, canary_interval_s=60.0
    )
    made.start()
    return made


class Clients:
    """Clients of the lane that is broken, each with a session; the first one holds the lane up."""

    def __init__(self, daemon, forecaster, rng):
        self.daemon = daemon
        self.rng = rng
        self.sessions = [
            Fed(Reference(forecaster, f"hit-{n}", durable=n % 4 == 1)) for n in range(CLIENTS)
        ]
        for fed in self.sessions:
            fed.reference.next([rng.gauss(0.0, 1.0)], horizon=5, model="told")

    def add_step(self):
        """Adds a step to each session."""
        for fed in self.sessions:
            points = [self.rng.gauss(0.0, 1.0) for _ in range(self.rng.choice((1, 3, 33)))]
            fed.reference.next(points, horizon=5, anomaly_rate=0.1)

    async def take_all(self):
        """Takes the next step of every session; all are answered, and rightly."""
        for fed, answer in zip(self.sessions, await self._post_all(), strict=True):
            assert answer[0] == 200, answer
            fed.take(answer[2])

    async def be_hit(self, hit, poison=None):
        """Sends a step of every session, and lets something happen; gives answers and moments.

        Args:
          hit: is called while all of them wait.
          poison: a point that comes last.
        """
        async with asyncio.timeout(30.0):
            blocker, bad = (TimedConnection(self.daemon) for _ in range(2))
            body = {"session": f"b{self.rng.random()}", "seq": 1, "append": [NAP], "model": "told"}
            held = asyncio.create_task(blocker.post(body))
            await asyncio.sleep(0.2)
            waiting = asyncio.create_task(self._post_all(with_moments=True))
            await asyncio.sleep(0.4)
            if poison is not None:
                body = {**body, "session": f"p{self.rng.random()}", "append": [poison]}
                sent = asyncio.create_task(bad.post(body))
            hit()
            answers = await waiting
            if poison is not None:
                assert_down(await sent)
                assert (await held)[0] == 200
            else:
                assert_down(await held)
            await asyncio.gather(blocker.close(), bad.close())
        return answers

    async def _post_all(self, *, with_moments=False):
        connections = [TimedConnection(self.daemon) for _ in self.sessions]
        bodies = [fed.reference.bodies[fed.answered] for fed in self.sessions]
        try:
            answers = await asyncio.gather(
                *(one.post(body) for one, body in zip(connections, bodies, strict=True))
            )
        finally:
            await asyncio.gather(*(one.close() for one in connections))
        if with_moments:
            return [(answer, one.at) for answer, one in zip(answers, connections, strict=True)]
        return answers

    def go_on(self):
        """Goes on from what the store has, to what the reference says."""
        with self.daemon.client() as client:
            for fed in self.sessions:
                resume(client, fed)
                replay(client, self.daemon, fed)


def restarts(daemon):
    return daemon.total("xlstmd_lane_restarts_total", model="told")


def hit_by(fault, told):
    """Gives what happens, what it is told by, and when it has happened."""
    moment = []

    def kill(number):
        moment.append(time.monotonic())
        os.kill(told.pid, number)

    match fault:
        case "kill -9":
            return lambda: kill(signal.SIGKILL), None, lambda: moment[0]
        case "stop":
            return lambda: kill(signal.SIGSTOP), None, lambda: moment[0] + LANE_TIMEOUT_S
        case "exit" | "segfault":
            poison = EXIT if fault == "exit" else SEGFAULT
            return lambda: None, poison, lambda: float((told.folder / DIED).read_text())


def test_f02_a_lane_dies_and_only_its_clients_are_told(daemon, told, forecaster):
    rng = random.Random(2)
    clients = Clients(daemon, forecaster, rng)
    with daemon.client() as client:
        client.post("/api/v1/xlstm/forecast", json={"series": [[1.0]], "horizon": 1})
    asyncio.run(clients.take_all())
    clients.add_step()
    asyncio.run(clients.take_all())
    with Bystanders(daemon, forecaster, rng):
        time.sleep(1.0)
    daemon.note_baseline()
    for number, fault in enumerate(("kill -9", "exit", "segfault", "stop", "kill -9")):
        clients.add_step()
        pid, before = told.pid, restarts(daemon)
        hit, poison, died_at = hit_by(fault, told)
        with Bystanders(daemon, forecaster, rng) as calm:
            answers = asyncio.run(clients.be_hit(hit, poison))
            assert daemon.probe("/readyz") == 503
            assert daemon.probe("/livez") == 200
            took = ready_again(daemon)
        late = max(at for _, at in answers) - died_at()
        for answer, _ in answers:
            assert_down(answer)
        print(
            f"\nF2: {fault}: {len(answers)} requests failed within {1000 * late:.0f} ms, ", end=""
        )
        print(
            f"ready {took:.2f} s later; {calm.asking.count} forecasts of the other lane, ", end=""
        )
        print(f"slowest {1000 * calm.asking.slowest_s:.0f} ms", end="")
        assert late <= (LOOK_S if fault == "stop" else AT_ONCE_S)
        assert restarts(daemon) == before + 1
        assert is_gone(pid)
        clients.go_on()
        assert_no_process_left(daemon, LANES)
        assert len(told.loads) == number + 2
    daemon.assert_calm()


def test_f02_frames_of_a_stream_are_told_too(daemon, told, forecaster):
    fed = Fed(Reference(forecaster, "framed"))
    fed.reference.next([1.0, 2.0], horizon=3, model="told")
    fed.reference.next([2.0], horizon=3)

    with connect(daemon.stream_url) as stream, daemon.client() as client:
        stream.recv(10.0)
        for body in fed.reference.bodies[:1]:
            stream.send(json.dumps(body))
            fed.take(json.loads(stream.recv(10.0)))
        until(lambda: seq_kept(client, fed) == 1, 10.0)
        stream.send(json.dumps({"session": "b", "seq": 1, "append": [NAP], "model": "told"}))
        time.sleep(0.3)
        stream.send(json.dumps(fed.reference.bodies[1]))
        time.sleep(0.3)
        os.kill(told.pid, signal.SIGKILL)
        for _ in range(2):
            problem = json.loads(stream.recv(1.0))
            assert problem.get("code") == "lane_down", problem
            assert problem["state_advanced"] is False
            assert problem["retry_after_s"] >= 1
        ready_again(daemon)
        stream.send(json.dumps(fed.reference.bodies[1]))
        answer = json.loads(stream.recv(10.0))
        check_answer(fed, answer)


def seq_kept(client, fed):
    return client.get(f"/api/v1/xlstm/sessions/forecast/{fed.reference.name}").json()["durable_seq"]
