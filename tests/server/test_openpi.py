"""The WebSocket of openpi: metadata first, numbered by the daemon, one connection one session."""

import json
from contextlib import contextmanager

import httpx
import msgspec
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.engine.policies import Episode, FakePolicy, draw
from tests.fakes import EchoModel
from tests.server.daemon import on_socket
from xlstmd.engine.session_record import SessionKey
from xlstmd.errors import InputError
from xlstmd.server.numpy_wire import read_map, read_numbers
from xlstmd.server.openpi import OPENPI_PATH

WAIT_S = 10.0


def packed(array):
    """Gives an array as clients of openpi send it: with bytes for keys, and a tuple as shape."""
    return {
        b"__ndarray__": True,
        b"data": array.tobytes(),
        b"dtype": array.dtype.str,
        b"shape": array.shape,
    }


def unpacked(content):
    """Reads an array as they do."""
    assert content[b"__ndarray__"] is True
    dtype = np.dtype(content[b"dtype"])
    return np.ndarray(buffer=content[b"data"], dtype=dtype, shape=content[b"shape"])


@contextmanager
def opened(port, name="arm"):
    """Connects; gives the connection and the metadata."""
    with connect(f"ws://127.0.0.1:{port}{OPENPI_PATH}{name}") as stream:
        yield stream, msgspec.msgpack.decode(stream.recv(WAIT_S))


def infer(stream, observation):
    """Asks as they do; an error is a text."""
    stream.send(msgspec.msgpack.encode(observation))
    answer = stream.recv(WAIT_S)
    return json.loads(answer) if isinstance(answer, str) else msgspec.msgpack.decode(answer)


@pytest.fixture
def daemon():
    """Gives the port of a daemon, its policy and its engine's sessions."""
    policy = FakePolicy()
    with on_socket(EchoModel("small"), policy) as (port, server):
        yield port, policy, server._engine.sessions
        policy.release.set()


def test_a_connection_is_a_session_and_a_reset_an_episode(daemon):
    port, policy, sessions = daemon
    seen = draw(6)
    with opened(port) as (stream, metadata):
        assert metadata["model"] == "arm@1"
        assert [entry["name"] for entry in metadata["contract"]["actions"]] == ["force", "valve"]
        owed = Episode(policy)(*seen[:4])
        for number, one in enumerate(seen[:4], start=1):
            # All under one name or each under its own, as an array, a list or a number.
            forms = (
                {"observation": packed(one)},
                {"observation": one.tolist()},
                {"place": packed(one[:1]), "angle": float(one[1])},
            )
            answer = infer(stream, forms[number % 3])
            actions = unpacked(answer["actions"])
            assert actions.shape == (1, 2)
            np.testing.assert_array_equal(actions[0], owed[number - 1])
            assert (answer["status"], answer["episode_step"]) == ("ok", number)
            assert answer["server_timing"]["infer_ms"] > 0.0
            assert ("prev_total_ms" in answer["server_timing"]) == (number > 1)
        answer = infer(stream, {"observation": packed(seen[4]), "reset": True})
        np.testing.assert_array_equal(unpacked(answer["actions"]), Episode(policy)(seen[4]))
        assert (answer["episode_step"], answer["seq"]) == (1, 5)
    with opened(port) as (stream, _):
        answer = infer(stream, {"observation": packed(seen[5])})
        np.testing.assert_array_equal(unpacked(answer["actions"]), Episode(policy)(seen[5]))
    assert all(key.id.startswith("openpi-") for key in sessions._parts.table._sessions)


def test_errors_are_texts_and_the_connection_goes_on(daemon):
    port, policy, _ = daemon
    bad = [
        ({"observation": packed(np.zeros(3))}, "bad_shape"),
        ({"observation": packed(np.array([np.nan, 0.0]))}, "non_finite"),
        ({"observation": "left"}, "bad_type"),
        ({"observation": {b"__ndarray__": True, b"dtype": "|O"}}, "bad_type"),
        ({"place": 1.0}, "unknown_field"),
        ({"observation": [0.0, 0.0], "reset": 1}, "bad_type"),
        ([1.0], "bad_type"),
    ]
    with opened(port) as (stream, _):
        for observation, code in bad:
            assert infer(stream, observation)["code"] == code
        stream.send(b"\xc1")
        assert json.loads(stream.recv(WAIT_S))["code"] == "bad_type"
        answer = infer(stream, {"observation": [0.5, -1.0]})
        assert answer["seq"] == 1
        np.testing.assert_array_equal(unpacked(answer["actions"]), Episode(policy)((0.5, -1.0)))


def test_a_session_that_is_lost_begins_again(daemon):
    port, policy, sessions = daemon
    with opened(port) as (stream, _):
        infer(stream, {"observation": [0.5, -1.0]})
        (key,) = sessions._parts.table._sessions
        assert isinstance(key, SessionKey)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.delete(f"/api/v1/xlstm/sessions/policy/{key.id}").status_code == 200
        answer = infer(stream, {"observation": [0.5, -1.0]})
        assert (answer["seq"], answer["episode_step"]) == (1, 1)
        np.testing.assert_array_equal(unpacked(answer["actions"]), Episode(policy)((0.5, -1.0)))


@pytest.mark.parametrize(("name", "status"), [("leg", 404), ("small", 404), ("a b", 422)])
def test_what_is_no_policy_is_refused_before(daemon, name, status):
    with pytest.raises(InvalidStatus) as refused, opened(daemon[0], name.replace(" ", "%20")):
        pass
    assert refused.value.response.status_code == status


@pytest.mark.parametrize(
    "value",
    [
        {b"__ndarray__": True, b"dtype": "<f8", b"shape": [2], b"data": b"1234"},
        {b"__ndarray__": True, b"dtype": "<f8", b"shape": [-1], b"data": b""},
        {b"__ndarray__": True, b"dtype": "<f8", b"shape": [2**62, 4], b"data": b""},
        {b"__ndarray__": True, b"dtype": "V8", b"shape": [1], b"data": b"12345678"},
        {b"dtype": "<f8"},
        {b"__npgeneric__": True, b"dtype": "<f8", b"data": "x"},
        [None],
    ],
)
def test_only_plain_numbers_are_read(value):
    with pytest.raises(InputError):
        read_numbers(value, field="observation")


def test_scalars_are_read_and_no_map_is_refused():
    scalar = {b"__npgeneric__": True, b"dtype": "<f4", b"data": 1.5}
    assert read_numbers(scalar, field="place").tolist() == [1.5]
    with pytest.raises(InputError):
        read_map(msgspec.msgpack.encode({1: 2}))
