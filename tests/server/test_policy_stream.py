"""The WebSocket of policies: the same messages and answers as over HTTP, one a frame."""

import json
from contextlib import contextmanager

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from tests.engine.policies import Episode, FakePolicy, draw
from tests.fakes import EchoModel
from tests.server.daemon import on_socket
from tests.server.test_policy_step import ANSWER, body
from xlstmd.server.policy_step import STEP_PATH
from xlstmd.server.policy_stepper import STREAM_PATH

WAIT_S = 10.0


@pytest.fixture
def daemon():
    """Gives the port of a daemon, and its policy."""
    policy = FakePolicy()
    with on_socket(EchoModel("small"), policy) as (port, _):
        yield port, policy
        policy.release.set()


@contextmanager
def opened(port):
    """Opens a stream; gives it and its metadata."""
    with connect(f"ws://127.0.0.1:{port}{STREAM_PATH}") as stream:
        yield stream, json.loads(stream.recv(WAIT_S))


def ask(stream, request):
    """Sends a frame and gives its answer."""
    stream.send(json.dumps(request))
    return json.loads(stream.recv(WAIT_S))


def test_the_first_frame_has_the_contracts(daemon):
    port, policy = daemon
    with opened(port) as (_, metadata):
        assert metadata["surface"] == "policy"
        (listed,) = metadata["policies"]
        assert listed["model"] == "arm@1"
        assert listed["contract"] == json.loads(json.dumps(policy.contract.to_dict()))


def test_frames_are_answered_as_requests_are(daemon):
    port, policy = daemon
    seen = draw(4)
    owed = Episode(policy)(*seen).tolist()
    with opened(port) as (stream, _):
        first = ask(stream, body(observation=seen[0].tolist()))
        assert set(first) == ANSWER
        assert first["action"] == owed[0]
        stream.send(msgspec.msgpack.encode(body(2, observation=seen[1].tolist())))
        assert msgspec.msgpack.decode(stream.recv(WAIT_S))["action"] == owed[1]
        # Several on their way at once, and one that is wrong between them.
        for request in (body(3, observation=seen[2].tolist()), body(9), body(session="b")):
            stream.send(json.dumps(request))
        answers = [json.loads(stream.recv(WAIT_S)) for _ in range(3)]
        assert answers[0]["action"] == owed[2]
        assert (answers[1]["code"], answers[1]["state_advanced"]) == ("seq_conflict", False)
        assert answers[2]["session"] == "b"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answer = client.post(STEP_PATH, json=body(4, observation=seen[3].tolist())).json()
        assert answer["action"] == owed[3]


def test_late_frames_are_answered_in_time(daemon):
    port, policy = daemon
    with opened(port) as (stream, _):
        ask(stream, body())
        policy.release.clear()
        for seq in (2, 3):
            late = ask(stream, body(seq, deadline_ms=25))
            assert (late["status"], late["pending"], late["seq"]) == ("fallback_late", True, seq)
        policy.release.set()
        answer = ask(stream, body(4))
        assert (answer["status"], answer["episode_step"]) == ("ok", 4)
        assert answer["action"] == Episode(policy)(*[(0.5, -1.0)] * 4)[-1].tolist()
