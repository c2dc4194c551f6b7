"""The WebSocket: metadata, answers in order and in kind, refusals, bounds, drain."""

import json
import socket
import threading
import time
from contextlib import contextmanager

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.server.daemon import on_socket
from tests.server.fake_sessions import FakeSessionsEngine
from xlstmd.server.appender import STREAM_PATH
from xlstmd.server.stream import PENDING

WAIT_S = 10.0


@pytest.fixture(scope="module")
def daemon():
    with on_socket(kind=FakeSessionsEngine, max_body_bytes=100_000) as daemon:
        yield daemon


@contextmanager
def opened(port, **options):
    """Opens a stream; gives it and its metadata."""
    with connect(f"ws://127.0.0.1:{port}{STREAM_PATH}", **options) as stream:
        yield stream, json.loads(stream.recv(WAIT_S))


def ask(stream, body):
    stream.send(json.dumps(body))
    return json.loads(stream.recv(WAIT_S))


def upgrade(path, headers=None):
    """Gives the head of a request for a stream."""
    lines = {
        "host": "localhost", "connection": "upgrade", "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-version": "13",
    } | (headers or {})  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{head}\r\n".encode()


def sessions_of(daemon):
    return daemon[1]._engine.sessions


def test_first_frame_tells_contract_model_and_limits(daemon):
    with opened(daemon[0], additional_headers={"x-request-id": "line-3"}) as (_, metadata):
        assert metadata["contract"] == "v1"
        assert metadata["surface"] == "forecast"
        assert metadata["model"] == "small@1"
        assert metadata["limits"]["max_body_bytes"] == 100_000
        assert metadata["limits"]["max_pending_frames"] == PENDING
        assert metadata["formats"] == ["application/json", "application/msgpack"]
        assert metadata["request_id"] == "line-3"


def test_frames_are_answered_in_their_kind(daemon):
    with opened(daemon[0]) as (stream, _):
        first = ask(stream, {"session": "kind", "seq": 1, "append": [1, 2], "horizon": 1})
        assert first["forecast"]["median"] == [2.0]
        packed = {"session": "kind", "seq": 2, "append": [None, 7.0], "horizon": 2}
        stream.send(msgspec.msgpack.encode(packed))
        answer = msgspec.msgpack.decode(stream.recv(WAIT_S))
        assert (answer["seq"], answer["forecast"]["median"]) == (2, [7.0, 7.0])
        assert first["request_id"].endswith(".1")
        assert answer["request_id"].endswith(".2")


def test_problems_are_frames_and_the_stream_goes_on(daemon):
    with opened(daemon[0]) as (stream, _):
        ask(stream, {"session": "bad", "seq": 1, "append": [1]})
        problems = [
            ask(stream, {"session": "bad", "seq": 9, "append": [1]}),
            ask(stream, {"session": "bad", "seq": 1, "append": [2]}),
            ask(stream, {"session": "bad", "seq": 2, "append": "x"}),
            ask(stream, {"session": "none", "seq": 2, "append": []}),
            ask(stream, [1, 2]),
        ]
        stream.send("{")
        problems.append(json.loads(stream.recv(WAIT_S)))
        stream.send(b"\xc1")
        problems.append(msgspec.msgpack.decode(stream.recv(WAIT_S)))
        assert [(problem["status"], problem["code"]) for problem in problems] == [
            (409, "seq_conflict"), (409, "seq_reused"), (422, "bad_type"), (404, "session_unknown"),
            (422, "bad_type"), (400, "malformed"), (400, "malformed"),
        ]  # fmt: skip
        assert (problems[0]["expected"], problems[0]["durable_seq"]) == (2, 0)
        assert all(problem["state_advanced"] is False for problem in problems)
        assert ask(stream, {"session": "bad", "seq": 2, "append": [3]})["observed"] == 2


def test_same_frame_again_gets_the_same_answer(daemon):
    body = {"session": "again", "seq": 1, "append": [1.0, 2.0], "horizon": 1}
    with opened(daemon[0]) as (stream, _):
        first = ask(stream, body)
    with opened(daemon[0]) as (stream, _):
        second = ask(stream, body)
    assert (first["observed"], first["forecast"]) == (second["observed"], second["forecast"])


def test_answers_come_in_order_and_sessions_side_by_side(daemon):
    sessions = sessions_of(daemon)
    with opened(daemon[0]) as (stream, _):
        loop = daemon[1].servers[0].get_loop()
        loop.call_soon_threadsafe(sessions.gate.clear)
        before = len(sessions.tasks)
        frames = [(f"side-{n % 4}", 1 + n // 4) for n in range(12)]
        for name, seq in frames:
            stream.send(json.dumps({"session": name, "seq": seq, "append": [float(seq)]}))
        deadline = time.monotonic() + WAIT_S
        while len(sessions.tasks) < before + 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        # One step of each session at a time.
        assert len(sessions.tasks) == before + 4
        loop.call_soon_threadsafe(sessions.gate.set)
        answers = [json.loads(stream.recv(WAIT_S)) for _ in frames]
        assert [(answer["session"], answer["seq"]) for answer in answers] == frames
        assert [answer["observed"] for answer in answers] == [seq for _, seq in frames]


def test_frames_beyond_the_bound_wait_unread(daemon):
    sessions = sessions_of(daemon)
    with opened(daemon[0]) as (stream, _):
        loop = daemon[1].servers[0].get_loop()
        loop.call_soon_threadsafe(sessions.gate.clear)
        before = len(sessions.tasks)
        for n in range(2 * PENDING):
            stream.send(json.dumps({"session": f"bound-{n}", "seq": 1, "append": [1.0]}))
        time.sleep(0.3)
        assert len(sessions.tasks) == before + PENDING
        loop.call_soon_threadsafe(sessions.gate.set)
        answers = [json.loads(stream.recv(WAIT_S)) for _ in range(2 * PENDING)]
        assert [answer["session"] for answer in answers] == [
            f"bound-{n}" for n in range(2 * PENDING)
        ]


def test_step_of_a_client_that_left_is_finished(daemon):
    sessions = sessions_of(daemon)
    loop = daemon[1].servers[0].get_loop()
    with opened(daemon[0]) as (stream, _):
        loop.call_soon_threadsafe(sessions.gate.clear)
        before = len(sessions.tasks)
        stream.send(json.dumps({"session": "left", "seq": 1, "append": [1.0]}))
        while len(sessions.tasks) == before:
            time.sleep(0.01)
    loop.call_soon_threadsafe(sessions.gate.set)
    with opened(daemon[0]) as (stream, _):
        assert ask(stream, {"session": "left", "seq": 2, "append": [2.0]})["observed"] == 2
    room = daemon[1].config.app._streams[STREAM_PATH].room
    deadline = time.monotonic() + WAIT_S
    while room.nbytes:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_too_large_frame_ends_the_stream(daemon):
    with opened(daemon[0]) as (stream, _):
        stream.send("x" * 100_001)
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(WAIT_S)
    assert closed.value.rcvd.code == 1009


def test_frames_of_all_streams_share_the_room_of_bodies():
    with (
        on_socket(kind=FakeSessionsEngine, max_pending_body_bytes=200) as (port, _),
        opened(port) as (stream, _),
    ):
        problem = ask(stream, {"session": "room", "seq": 1, "append": [1.0] * 100})
        assert (problem["code"], problem["retry_after_s"]) == ("overloaded", 1)
        assert ask(stream, {"session": "room", "seq": 1, "append": [1.0]})["seq"] == 1


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        (STREAM_PATH, {"origin": "http://evil.example"}, 403, "bad_origin"),
        (STREAM_PATH, {"host": "evil.example"}, 403, "bad_origin"),
        (STREAM_PATH, {"x-deadline-ms": "soon"}, 400, "malformed"),
        ("/api/v1/xlstm/forecast", {}, 404, "not_found"),
        ("/nowhere", {}, 404, "not_found"),
    ],
)
def test_upgrades_are_refused_with_a_problem(daemon, path, headers, status, code):
    with socket.create_connection(("127.0.0.1", daemon[0]), timeout=WAIT_S) as client:
        client.sendall(upgrade(path, headers))
        answer = b"".join(iter(lambda: client.recv(65_536), b""))
    top, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert top.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"application/problem+json" in top
    assert b"x-content-type-options: nosniff" in top
    assert (problem["code"], problem["state_advanced"]) == (code, False)


def test_deadline_of_the_connection_is_that_of_each_frame(daemon):
    with opened(daemon[0], additional_headers={"x-deadline-ms": "1500"}) as (stream, _):
        time.sleep(0.05)
        for seq in (1, 2):
            ask(stream, {"session": "deadline", "seq": seq, "append": []})
            assert 1.4 < sessions_of(daemon).tasks[-1].deadline_s <= 1.5


def test_own_page_may_open_a_stream(daemon):
    port = daemon[0]
    with opened(port, origin=f"http://127.0.0.1:{port}") as (stream, _):
        assert ask(stream, {"session": "own", "seq": 1, "append": []})["observed"] == 0


def test_metrics_count_frames(daemon):
    with opened(daemon[0]) as (stream, _):
        ask(stream, {"session": "count", "seq": 5, "append": []})
    families = daemon[1]._engine.telemetry.registry
    labels = {"endpoint": STREAM_PATH, "model": "small", "version": "1"}
    count = families.get_sample_value(
        "xlstmd_requests_total", {**labels, "outcome": "session_unknown"}
    )
    assert count >= 1


def test_drain_answers_what_runs_and_closes_with_1012():
    with on_socket(kind=FakeSessionsEngine) as daemon, opened(daemon[0]) as (stream, _):
        ask(stream, {"session": "drain", "seq": 1, "append": [1.0]})
        daemon[1].should_exit = True
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(WAIT_S)
        assert closed.value.rcvd.code == 1012


def test_frame_during_a_drain_is_refused_and_closed_with_1012():
    with on_socket(kind=FakeSessionsEngine) as daemon, opened(daemon[0]) as (stream, _):
        engine = daemon[1]._engine
        ask(stream, {"session": "drain", "seq": 1, "append": [1.0]})
        done = threading.Event()
        loop = daemon[1].servers[0].get_loop()

        def drain():
            loop.create_task(engine.drain(1.0)).add_done_callback(lambda _: done.set())

        loop.call_soon_threadsafe(drain)
        assert done.wait(WAIT_S)
        problem = ask(stream, {"session": "drain", "seq": 2, "append": [1.0]})
        assert (problem["status"], problem["code"]) == (503, "draining")
        assert problem["retry_after_s"] >= 1
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(WAIT_S)
        assert closed.value.rcvd.code == 1012
        with pytest.raises(InvalidStatus) as refused, opened(daemon[0]):
            pass
        assert refused.value.response.status_code == 503


def text_frame(body):
    """Gives a frame as a client sends it; its mask is zero."""
    text = json.dumps(body).encode()
    assert len(text) < 126
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text


def test_slow_reader_is_cut_off():
    with (
        on_socket(kind=FakeSessionsEngine, write_timeout_s=0.3) as (port, server),
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.sendall(upgrade(STREAM_PATH))
        assert client.recv(1_000).startswith(b"HTTP/1.1 101 ")
        client.sendall(text_frame({"session": "slow", "seq": 1, "append": [1.0]}))
        for _ in range(PENDING - 1):
            client.sendall(text_frame({"session": "slow", "append": [], "horizon": 10_000}))
        deadline = time.monotonic() + WAIT_S
        while server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.05)
