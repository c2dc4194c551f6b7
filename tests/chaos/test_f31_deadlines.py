"""F31: a step that is answered with 504 has not advanced its stream, and does not later."""

import json
import random
import threading
import time

import pytest
from websockets.sync.client import connect

from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append
from tests.chaos.test_f04_drain import ONE_CALL, ask_long

CEILING_S = 1.0
NAME = "x-deadline-ms"

# Of these none can be kept.
HOPELESS = ("0", "-0.0", "-5", "-1e300", "-inf", "1e-300", "0.001")
GENEROUS = ("1e300", "inf", "100000000000")
ROUNDS = 60


@pytest.fixture
def daemon(new_daemon):
    made = new_daemon(max_deadline_s=CEILING_S, **ONE_CALL)
    made.start()
    return made


@pytest.fixture
def begun(daemon, forecaster):
    """Gives a client and a session that has taken a step."""
    reference = Reference(forecaster, "s")
    with daemon.client() as client:
        body = reference.next([1.0, 2.0, 3.0], horizon=4)
        assert_same(post(client, daemon, body).json(), reference.expected[-1])
        yield client, reference


def assert_late(problem):
    assert (problem["status"], problem["code"]) == (504, "deadline_exceeded"), problem
    assert problem["state_advanced"] is False


def seq_of(client, name="s"):
    return client.get(f"{SESSIONS}/{name}").json()["seq"]


def retry(client, daemon, reference):
    """Sends what was late again: it is taken now, for the first time."""
    answer = post(client, daemon, reference.bodies[-1])
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), reference.expected[-1])


@pytest.mark.parametrize("deadline", HOPELESS)
def test_f31_hopeless_deadlines(deadline, daemon, begun):
    client, reference = begun
    body = reference.next([4.0], horizon=4, anomaly_rate=0.1)
    for _ in range(3):
        answer = post(client, daemon, body, **{NAME: deadline})
        assert answer.status_code == 504
        assert_late(answer.json())
    assert seq_of(client) == 1
    question = post(client, daemon, reference.question(4)[0], **{NAME: deadline})
    assert_late(question.json())
    retry(client, daemon, reference)
    daemon.assert_idle()


@pytest.mark.parametrize("deadline", GENEROUS)
def test_f31_deadlines_over_the_ceiling(deadline, daemon, begun):
    client, reference = begun
    answer = post(client, daemon, reference.next([4.0], horizon=4), **{NAME: deadline})
    assert_same(answer.json(), reference.expected[-1])
    job = ask_long(daemon, [])
    began = time.monotonic()
    late = post(client, daemon, reference.next([5.0]), **{NAME: deadline})
    took = time.monotonic() - began
    job.join()
    if late.status_code == 504:
        assert_late(late.json())
        assert CEILING_S - 0.1 < took < CEILING_S + 0.5
    else:
        # The job was done earlier than that on this machine.
        assert took < CEILING_S
    retry(client, daemon, reference)
    daemon.assert_idle()


def test_f31_deadline_that_expires_in_the_queue(daemon, forecaster):
    sessions = [Reference(forecaster, f"q{n}") for n in range(20)]
    with daemon.client() as client:
        for one in sessions:
            post(client, daemon, one.next([1.0, 2.0]))
        missed = daemon.total("xlstmd_deadline_missed_total", stage="queue")
        job = ask_long(daemon, [])
        late, threads = [], []
        for one in sessions:
            threads.append(threading.Thread(target=post_late, args=(daemon, one, 300, late)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert len(late) == len(sessions)
        for problem in late:
            assert_late(problem)
        assert daemon.total("xlstmd_deadline_missed_total", stage="queue") > missed
        assert all(seq_of(client, one.name) == 1 for one in sessions)
        job.join()
        # Nor when the lane is free again.
        post(client, daemon, sessions[0].question(2)[0])
        for one in sessions:
            assert seq_of(client, one.name) == 1
            retry(client, daemon, one)
    daemon.assert_idle()


def post_late(daemon, reference, milliseconds, late):
    body = reference.next([3.0], horizon=2)
    with daemon.client() as client:
        late.append(post(client, daemon, body, **{NAME: str(milliseconds)}).json())


def test_f31_deadline_that_expires_mid_compute(daemon, begun):
    client, reference = begun
    rng = random.Random(31)
    body = reference.next([rng.gauss(0.0, 1.0) for _ in range(200_000)], horizon=4)
    missed = daemon.total("xlstmd_deadline_missed_total")
    answer = post(client, daemon, body, **{NAME: "150"})
    assert_late(answer.json())
    assert daemon.total("xlstmd_deadline_missed_total") == missed + 1
    time.sleep(1.0)
    assert seq_of(client) == 1
    retry(client, daemon, reference)
    reference.check(client, daemon)
    daemon.assert_idle()


@pytest.mark.parametrize("is_stream", [False, True])
def test_f31_never_both_late_and_advanced(is_stream, daemon, forecaster):
    """Deadlines of about the time that a step takes: some are kept, some are not."""
    rng = random.Random(310)
    reference = Reference(forecaster, "edge")
    outcomes = {200: 0, 504: 0}
    with daemon.client() as client:
        for _ in range(ROUNDS):
            points, more = random_append(rng, first=reference.seq == 0)
            points *= 50
            body = reference.next(points, **more)
            milliseconds = f"{rng.choice((1.0, 4.0, 8.0, 16.0, 64.0)):g}"
            answer = send(daemon, client, body, milliseconds, is_stream=is_stream)
            status = answer.get("status", 200)
            outcomes[status] += 1
            if status == 504:
                assert_late(answer)
                shown = client.get(f"{SESSIONS}/edge")
                now = shown.json()["seq"] if shown.status_code == 200 else 0
                assert now == reference.seq - 1
                retry(client, daemon, reference)
            else:
                assert_same(answer, reference.expected[-1])
        reference.check(client, daemon)
    print(f"\nF31: {outcomes}")
    assert min(outcomes.values()) > 0
    daemon.assert_idle()


def send(daemon, client, body, milliseconds, *, is_stream):
    """Sends a step with a deadline; gives the answer or the problem."""
    if not is_stream:
        return post(client, daemon, body, **{NAME: milliseconds}).json()
    with connect(daemon.stream_url, additional_headers={NAME: milliseconds}) as stream:
        stream.recv(10.0)
        stream.send(json.dumps(body))
        answer = json.loads(stream.recv(10.0))
        daemon.note_sent()
    return answer
