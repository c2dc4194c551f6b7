"""F16: numbers that are none are refused with their place, missing ones are taken, and whatever is
refused changes nothing; in JSON, in MessagePack and in frames."""

import json
import math
import zlib

import msgspec
import numpy as np
import pytest
from websockets.sync.client import connect

from tests.chaos.daemon import Daemon
from tests.chaos.reference import Reference, assert_same, post
from xlstmd.server.append import APPEND_PATH

JSON = {"content-type": "application/json"}
MSGPACK = {"content-type": "application/msgpack"}
PLACE = 3

# What stands in the place of a point, and the code of the refusal.
JSON_TEXTS = {
    "1e999": "non_finite",
    "-1e999": "non_finite",
    "1e400": "non_finite",
    "1" + "0" * 400: "non_finite",
    "1e301": "out_of_range",
    "NaN": "malformed",
    "Infinity": "malformed",
    "-Infinity": "malformed",
    '"NaN"': "bad_type",
}
NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
TYPES = ("<f4", "<f2")

# Strange, and yet numbers: they are computed with.
TAKEN = {
    "subnormals": [5e-324, -5e-324, 1e-310, 2e-308, 0.0, -0.0],
    "tiny float32": [1e-40, 1e-45, -1e-39, 1e-38],
    "large": [1e38, -1e38, 3.4e38, 1e39],
    "largest": [1e300, -1e300, 1.0],
    "mixed": [1e-310, 1.0, 1e38, None, -1e38],
    "missing": [None, None, None],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    daemon = Daemon(tmp_path_factory.mktemp("f16") / "state")
    daemon.start()
    yield daemon
    daemon.close()


@pytest.fixture
def begun(running, forecaster, request):
    """Gives a client, and a session that has taken one step; looks at it again at the end."""
    reference = Reference(forecaster, f"s{zlib.crc32(request.node.name.encode())}")
    with running.client() as client:
        points = [None, *(float(n % 7) for n in range(40)), None]
        body = reference.next(points, horizon=5, anomaly_rate=0.1)
        assert_same(post(client, running, body).json(), reference.expected[-1])
        yield client, reference
        reference.check(client, running)
        body = reference.next([2.0, None], horizon=5, anomaly_rate=0.1)
        assert_same(post(client, running, body).json(), reference.expected[-1])
    running.assert_idle()


def assert_refused(problem, status, code):
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["state_advanced"] is False
    if status == 422:
        assert problem["field"].startswith("append")
        where = f"{problem['field']} {problem['detail']}"
        assert f"position {PLACE}" in where or f"append[{PLACE}]" in where, where


def json_body(reference, text):
    """Writes a step with some text in the place of a point."""
    points = ["1.0"] * PLACE + [text, "2.0"]
    seq = reference.seq + 1
    return f'{{"session":"{reference.name}","seq":{seq},"append":[{",".join(points)}]}}'


@pytest.mark.parametrize(("text", "code"), JSON_TEXTS.items(), ids=lambda one: str(one)[:12])
def test_f16_json(text, code, running, begun):
    client, reference = begun
    answer = client.post(APPEND_PATH, content=json_body(reference, text), headers=JSON)
    running.note_sent()
    assert_refused(answer.json(), 400 if code == "malformed" else 422, code)
    assert answer.status_code == answer.json()["status"]


@pytest.mark.parametrize(("text", "code"), JSON_TEXTS.items(), ids=lambda one: str(one)[:12])
def test_f16_text_frames(text, code, running, begun):
    _, reference = begun
    with connect(running.stream_url) as stream:
        stream.recv(10.0)
        stream.send(json_body(reference, text))
        problem = json.loads(stream.recv(10.0))
        running.note_sent()
    assert_refused(problem, 400 if code == "malformed" else 422, code)


def packed(reference, points):
    body = {"session": reference.name, "seq": reference.seq + 1, "append": points}
    return msgspec.msgpack.encode(body)


def binary(values, dtype="<f4"):
    """Gives numbers as an array of bytes."""
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": array.tobytes()}


REFUSED_PACKS = {
    **{f"list {name}": [1.0] * PLACE + [number] for name, number in NUMBERS.items()},
    **{
        f"{dtype} {name}": binary([1.0] * PLACE + [number], dtype)
        for dtype in TYPES
        for name, number in NUMBERS.items()
        if not math.isnan(number)
    },
    "<f2 beyond": binary([1.0] * PLACE + [1e9], "<f2"),
}


@pytest.mark.parametrize("name", REFUSED_PACKS)
def test_f16_messagepack(name, running, begun):
    client, reference = begun
    body = packed(reference, REFUSED_PACKS[name])
    answer = client.post(APPEND_PATH, content=body, headers=MSGPACK)
    running.note_sent()
    assert_refused(msgspec.json.decode(answer.content), 422, "non_finite")


@pytest.mark.parametrize("name", REFUSED_PACKS)
def test_f16_binary_frames(name, running, begun):
    _, reference = begun
    with connect(running.stream_url) as stream:
        stream.recv(10.0)
        stream.send(packed(reference, REFUSED_PACKS[name]))
        problem = msgspec.msgpack.decode(stream.recv(10.0))
        running.note_sent()
    assert_refused(problem, 422, "non_finite")


@pytest.mark.parametrize("name", TAKEN)
def test_f16_strange_numbers_are_taken(name, running, begun):
    client, reference = begun
    for _ in range(2):
        body = reference.next(TAKEN[name], horizon=5, anomaly_rate=0.1)
        answer = post(client, running, body)
        assert answer.status_code == 200, answer.text
        assert_same(answer.json(), reference.expected[-1])


@pytest.mark.parametrize("dtype", TYPES)
def test_f16_nan_in_an_array_is_missing(dtype, running, begun):
    client, reference = begun
    reference.next([1.0, None, 2.0])
    body = msgspec.msgpack.encode(
        {
            "session": reference.name,
            "seq": reference.seq,
            "append": binary([1.0, math.nan, 2.0], dtype),
        }
    )
    answer = client.post(
        APPEND_PATH, content=body, headers=MSGPACK | {"accept": JSON["content-type"]}
    )
    running.note_sent()
    assert answer.status_code == 200, answer.text
    assert_same(answer.json(), reference.expected[-1])
