"""F11: a client that hangs up: what advances a stream is finished, what only asks is dropped, and
both are counted."""

import json
import random
import socket
import struct

import pytest
from websockets.sync.client import connect

from tests.chaos.daemon import total, until
from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append
from tests.chaos.test_f04_drain import LONG_JOB, ONE_CALL, ask_long
from xlstmd.server.append import APPEND_PATH
from xlstmd.server.forecast import FORECAST_PATH

CLIENTS = 20
MANY_POINTS = 100_000
TURNS = 5


@pytest.fixture
def daemon(new_daemon):
    made = new_daemon(**ONE_CALL)
    made.start()
    return made


def send(daemon, path, body):
    """Sends a request over a connection of its own, and gives the connection."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", daemon.port))
    connection.sendall(head.encode() + content)
    return connection


def hang_up(connection, *, is_reset):
    """Ends a connection: in order, or with a reset."""
    if is_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def begun(daemon, client, forecaster, name):
    """Gives a session that has taken two steps."""
    rng = random.Random(11)
    reference = Reference(forecaster, name)
    for seq in range(2):
        points, more = random_append(rng, first=seq == 0)
        answer = post(client, daemon, reference.next(points, **more))
        assert_same(answer.json(), reference.expected[-1])
    return reference


def test_f11_disconnect_while_queued(daemon, forecaster):
    again(daemon, lambda client, turn: leave_queue(daemon, client, forecaster, turn))


def leave_queue(daemon, client, forecaster, turn):
    sessions = [begun(daemon, client, forecaster, f"left-{turn}-{n}") for n in range(CLIENTS)]
    asked = begun(daemon, client, forecaster, f"asked-{turn}")
    gone_before, cancelled = daemon.metrics(), daemon.total("xlstmd_cancelled_total")
    answers = []
    job = ask_long(daemon, answers)
    bodies = [one.next([1.0, 2.0], horizon=4, anomaly_rate=0.1) for one in sessions]
    steps = [send(daemon, APPEND_PATH, body) for body in bodies]
    asks = [send(daemon, APPEND_PATH, asked.question(4)[0]) for _ in range(CLIENTS)]
    task = {"series": [[1.0, 2.0]], "horizon": 4}
    tasks = [send(daemon, FORECAST_PATH, task) for _ in range(CLIENTS)]
    inside = "xlstmd_session_requests"
    until(lambda: daemon.total(inside) == len(steps) + len(asks), 10.0)
    daemon.note_sent(len(steps) + len(asks))
    for number, connection in enumerate(steps + asks + tasks):
        hang_up(connection, is_reset=number % 2 == 0)
    for path, count in ((APPEND_PATH, len(steps) + len(asks)), (FORECAST_PATH, len(tasks))):
        until_gone(daemon, path, count, gone_before)
    # Those that only asked have left; the steps are still to be taken.
    until(lambda: daemon.total(inside) == len(steps), 10.0)
    # Questions of one session wait for each other: all but the first had no place in a queue.
    assert daemon.total("xlstmd_cancelled_total") - cancelled >= len(tasks) + 1
    job.join()
    assert answers[0].status_code == 200
    for one, body in zip(sessions, bodies, strict=True):
        until(lambda name=one.name: seq_of(client, name) == 3, 10.0)
        assert_same(post(client, daemon, body).json(), one.expected[-1])
        one.check(client, daemon)
    assert seq_of(client, asked.name) == 2
    asked.check(client, daemon)


def test_f11_disconnect_while_computing(daemon, forecaster):
    again(daemon, lambda client, turn: leave_computation(daemon, client, forecaster, turn))


def leave_computation(daemon, client, forecaster, turn):
    reference = begun(daemon, client, forecaster, f"left-{turn}")
    before, cancelled = daemon.metrics(), daemon.total("xlstmd_cancelled_total")
    # Some tenths of a second: it is being computed when its client goes.
    rng = random.Random(11)
    body = reference.next([rng.gauss(0.0, 1.0) for _ in range(MANY_POINTS)], horizon=4)
    connection = send(daemon, APPEND_PATH, body)
    daemon.note_sent()
    until(lambda: daemon.total("xlstmd_session_requests") == 1, 10.0)
    hang_up(connection, is_reset=True)
    until_gone(daemon, APPEND_PATH, 1, before)
    until(lambda: seq_of(client, reference.name) == 3, 10.0)
    reference.check(client, daemon)
    # What the model computes for nobody is thrown away.
    connection = send(daemon, FORECAST_PATH, LONG_JOB)
    until(lambda: daemon.total("xlstmd_queue_depth") > 1, 10.0)
    hang_up(connection, is_reset=False)
    until(lambda: daemon.total("xlstmd_cancelled_total") == cancelled + 1, 10.0)


def test_f11_disconnect_of_a_stream(daemon, forecaster):
    again(daemon, lambda client, turn: leave_stream(daemon, client, forecaster, turn))


def leave_stream(daemon, client, forecaster, turn):
    reference = begun(daemon, client, forecaster, f"left-{turn}")
    job = ask_long(daemon, [])
    with connect(daemon.stream_url) as stream:
        stream.recv(10.0)
        stream.send(json.dumps(reference.next([1.0, 2.0], horizon=4)))
        until(lambda: daemon.total("xlstmd_session_requests") == 1, 10.0)
        stream.socket.shutdown(socket.SHUT_RDWR)
    job.join()
    until(lambda: seq_of(client, reference.name) == 3, 10.0)
    reference.check(client, daemon)
    # Nobody could be told of that frame, so that nothing says whether it is counted.
    daemon.sent = daemon.counted()


def again(daemon, work):
    """Does something again until once it has left nothing: what leaks would leave some each time.

    The first times leave what large requests need: buffers, and pages that are not full.
    """
    for turn in range(TURNS):
        with daemon.client() as client:
            work(client, turn)
        if turn and daemon.is_calm():
            return
        daemon.note_baseline()
    raise AssertionError(f"{TURNS} times, and each one has left something")


def seq_of(client, name):
    return client.get(f"{SESSIONS}/{name}").json()["seq"]


def until_gone(daemon, path, count, before):
    """Waits until so many clients more have been counted as gone."""
    labels = {"endpoint": path, "outcome": "client_gone"}
    first = total(before, "xlstmd_requests_total", **labels)
    until(lambda: daemon.total("xlstmd_requests_total", **labels) == first + count, 10.0)
