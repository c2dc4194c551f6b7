"""The append route: every field, every refusal, formats, retries."""

import asyncio
import json
import math
from contextlib import asynccontextmanager

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.server.daemon import in_process, make_engine, run
from tests.server.fake_sessions import FakeSessionsEngine
from xlstmd.errors import (
    DeadlineExceeded,
    EngineStopped,
    LaneDown,
    ModelFailed,
    Overloaded,
    StoreFailed,
    StoreFull,
    XlstmdError,
)
from xlstmd.server.append_task import TENANT, read_append
from xlstmd.server.media import Media
from xlstmd.server.problems import Problem
from xlstmd.server.settings import Settings

APPEND = "/api/v1/xlstm/forecast/append"
MSGPACK = {"content-type": "application/msgpack"}
FIRST = {"session": "pump-7", "seq": 1, "append": [1.0, None, 3.0]}


@asynccontextmanager
async def daemon(**settings):
    """Gives a client, and the sessions behind it."""
    engine = make_engine(Settings(**settings), kind=FakeSessionsEngine)
    async with in_process(engine=engine, **settings) as client:
        yield client, engine.sessions


def ask(*bodies, headers=None, error=None, **settings):
    """Sends requests to a fresh daemon one after the other; gives the last answer."""

    async def exchange():
        async with daemon(**settings) as (client, sessions):
            for body in bodies:
                sessions.error = error
                if isinstance(body, bytes):
                    answer = await client.post(APPEND, content=body, headers=headers)
                else:
                    answer = await client.post(APPEND, json=body, headers=headers)
            return answer

    return run(exchange())


def task_of(body, media=Media.JSON, **limits):
    encoder = msgspec.json if media is Media.JSON else msgspec.msgpack
    return read_append(encoder.encode(body), media, Settings(**limits))


def binary(values, dtype="<f4"):
    array = np.array(values, dtype=dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": array.tobytes()}


def test_points_are_taken_and_forecast():
    body = {**FIRST, "horizon": 2, "quantile_levels": [0.1, 0.9], "model": "small"}
    answer = ask(body)
    assert answer.status_code == 200
    content = answer.json()
    assert set(content.pop("timing")) == {"queue_ms", "compute_ms", "total_ms"}
    assert content.pop("request_id") == answer.headers["x-request-id"]
    assert content == {
        "session": "pump-7",
        "seq": 1,
        "durable_seq": 0,
        "observed": 3,
        "forecast": {
            "mean": [3.25, 3.25],
            "median": [3.0, 3.0],
            "quantiles": {"0.1": [2.2, 2.2], "0.9": [3.8, 3.8]},
            "mean_method": "quantile_integral",
        },
        "model": "small@1",
    }


@pytest.mark.parametrize("horizon", [{}, {"horizon": 0}, {"horizon": None}])
def test_without_horizon_is_no_forecast(horizon):
    content = ask({**FIRST, **horizon}).json()
    assert "forecast" not in content
    assert "anomaly" not in content
    assert content["observed"] == 3


def test_levels_have_the_usual_default():
    content = ask({**FIRST, "horizon": 1}).json()
    assert list(content["forecast"]["quantiles"]) == [f"0.{n}" for n in range(1, 10)]


def test_every_point_has_an_anomaly_entry():
    body = {"session": "a", "seq": 1, "append": [1.0, 2.0, None, 3.0, 666.0], "anomaly_rate": 0.01}
    unscored = [
        {"value": value, "quantile": None, "surprise": None, "flag": False} for value in (1.0, 2.0)
    ]
    entries = ask(body).json()["anomaly"]
    assert entries[:3] == [*unscored, None]
    assert entries[3] == {
        "value": 3.0, "quantile": 0.5, "surprise": pytest.approx(math.log(2)), "flag": False,
    }  # fmt: skip
    assert entries[4]["flag"] is True
    assert entries[4]["surprise"] == pytest.approx(-math.log(0.001))


def test_asking_without_points_advances_nothing():
    asking = {"session": "pump-7", "append": [], "horizon": 3}
    content = ask(FIRST, asking, asking).json()
    assert (content["seq"], content["observed"]) == (1, 3)
    assert content["forecast"]["median"] == [3.0] * 3


def test_times_go_on_with_the_stream():
    start = {"start": "2026-01-01T00:00:00+01:00", "freq": "h"}
    second = {"session": "pump-7", "seq": 2, "append": [4.0], "horizon": 2}
    content = ask({**FIRST, **start}, second).json()
    assert content["forecast"]["timestamps"] == ["2026-01-01T03:00:00Z", "2026-01-01T04:00:00Z"]


def test_time_starts_at_the_first_observed_point():
    body = {"session": "a", "seq": 1, "append": [None, None, 1.0, 2.0], "horizon": 1,
            "start": "2026-01-31", "freq": "ME"}  # fmt: skip
    content = ask(body).json()
    assert content["observed"] == 2
    assert content["forecast"]["timestamps"] == ["2026-05-31T00:00:00Z"]
    assert task_of(body).facts == {"start": "2026-03-31T00:00:00Z", "freq": "ME"}


def test_same_request_gets_the_same_answer_in_either_format():
    packed = msgspec.msgpack.encode({**FIRST, "append": binary([1, math.nan, 3]), "horizon": 0})
    other = msgspec.msgpack.encode({**FIRST, "append": [1, None, 3], "reset": False})

    async def exchange():
        async with daemon() as (client, sessions):
            answers = [
                await client.post(APPEND, json=FIRST),
                await client.post(APPEND, json=FIRST),
                await client.post(APPEND, content=packed, headers=MSGPACK),
                await client.post(APPEND, content=other, headers=MSGPACK),
            ]
            return answers, sessions

    answers, sessions = run(exchange())
    assert [answer.status_code for answer in answers] == [200] * 4
    bodies = [answer.json() for answer in answers[:2]]
    bodies += [msgspec.msgpack.decode(answer.content) for answer in answers[2:]]
    assert {(body["seq"], body["observed"]) for body in bodies} == {(1, 3)}
    (session,) = sessions.live.values()
    assert len(session.values) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"append": [1.0, None, 3.5]},
        {"append": [1.0, 3.0]},
        {"horizon": 1},
        {"quantile_levels": [0.5]},
        {"anomaly_rate": 0.1},
        {"model": "small"},
        {"reset": True},
        {"durable": "every_step"},
        {"start": "2026-01-01", "freq": "h"},
        {"seq": 2},
    ],
)
def test_every_field_is_part_of_what_a_request_is(change):
    assert task_of(FIRST).request_hash != task_of({**FIRST, **change}).request_hash


def test_name_of_the_session_is_not_part_of_what_a_request_is():
    assert task_of(FIRST).request_hash == task_of({**FIRST, "session": "copy"}).request_hash


def test_keys_are_those_of_the_one_tenant():
    assert task_of(FIRST).key == (TENANT, "forecast", "pump-7")


def test_what_belongs_to_the_creation_is_passed_on():
    task = task_of({**FIRST, "reset": True, "durable": "every_step"})
    assert (task.reset, task.durable) == (True, True)
    content = ask({**FIRST, "durable": "every_step"}).json()
    assert content["durable_seq"] == content["seq"] == 1


BAD_FIELDS = [
    ({"session": "a b"}, "out_of_range", "session"),
    ({"session": ""}, "out_of_range", "session"),
    ({"session": "x" * 129}, "out_of_range", "session"),
    ({"session": 7}, "bad_type", "session"),
    ({"session": ...}, "missing_field", "session"),
    ({"append": ...}, "missing_field", "append"),
    ({"append": 1.0}, "bad_type", "append"),
    ({"append": ["1"]}, "bad_type", "append"),
    ({"append": [True]}, "bad_type", "append"),
    ({"append": {"dtype": "<f4", "shape": [1], "data": "AAAA"}}, "bad_type", "append"),
    ({"seq": 0}, "out_of_range", "seq"),
    ({"seq": 2**63}, "out_of_range", "seq"),
    ({"seq": 1.5}, "bad_type", "seq"),
    ({"seq": None}, "missing_field", "seq"),
    ({"seq": ...}, "missing_field", "seq"),
    ({"horizon": -1}, "out_of_range", "horizon"),
    ({"horizon": 10_001}, "out_of_range", "horizon"),
    ({"horizon": "1"}, "bad_type", "horizon"),
    ({"quantile_levels": []}, "empty", "quantile_levels"),
    ({"quantile_levels": [0.0]}, "out_of_range", "quantile_levels[0]"),
    ({"quantile_levels": [0.5, 0.5]}, "out_of_range", "quantile_levels[1]"),
    ({"anomaly_rate": 0.0}, "out_of_range", "anomaly_rate"),
    ({"anomaly_rate": 1}, "out_of_range", "anomaly_rate"),
    ({"anomaly_rate": "often"}, "bad_type", "anomaly_rate"),
    ({"model": "a b"}, "out_of_range", "model"),
    ({"start": "2026-01-01"}, "missing_field", "freq"),
    ({"freq": "h"}, "missing_field", "start"),
    ({"start": "soon", "freq": "h"}, "out_of_range", "start"),
    ({"start": "2026-01-01", "freq": "often"}, "out_of_range", "freq"),
    ({"start": "9999-12-31", "freq": "D"}, "out_of_range", "horizon"),
    ({"start": "2026-01-01", "freq": "D", "append": [None]}, "empty", "append"),
    ({"start": "2026-01-01", "freq": "D", "append": []}, "empty", "append"),
    ({"start": "2026-01-01", "freq": "D", "seq": 2}, "out_of_range", "start"),
    ({"durable": "sometimes"}, "out_of_range", "durable"),
    ({"durable": True}, "bad_type", "durable"),
    ({"durable": "every_step", "seq": 2}, "out_of_range", "durable"),
    ({"reset": True, "seq": 2}, "out_of_range", "reset"),
    ({"reset": 1}, "bad_type", "reset"),
    ({"sequence": 1}, "unknown_field", "sequence"),
]


@pytest.mark.parametrize(("change", "code", "field"), BAD_FIELDS)
def test_bad_fields_are_refused(change, code, field):
    whole = {**FIRST, **change}
    answer = ask({name: value for name, value in whole.items() if value is not ...})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (422, code, field)
    assert problem["state_advanced"] is False
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "text",
    [b'{"session": "a", "seq": 1, "append": [1e999]}', b'{"session": "a", "append": [-1e999]}'],
)
def test_infinite_points_are_refused(text):
    answer = ask(text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "non_finite")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (binary([1, math.inf]), "non_finite"),
        ({**binary([1]), "dtype": "<f8"}, "bad_type"),
        ({**binary([1]), "shape": [2]}, "bad_shape"),
        ([1.0, math.nan], "non_finite"),
    ],
)
def test_bad_arrays_are_refused(body, code):
    packed = msgspec.msgpack.encode({"session": "a", "seq": 1, "append": body})
    assert ask(packed, headers=MSGPACK).json()["code"] == code


@pytest.mark.parametrize(
    ("settings", "change", "code"),
    [
        ({"max_points": 2}, {}, "too_many_items"),
        ({"max_quantile_levels": 1}, {"quantile_levels": [0.1, 0.2]}, "too_many_items"),
        ({"max_answer_numbers": 21}, {"horizon": 2}, "too_many_items"),
        ({"max_answer_numbers": 11}, {"anomaly_rate": 0.1}, "too_many_items"),
        ({"max_body_bytes": 20}, {}, "body_too_large"),
    ],
)
def test_more_than_allowed_is_413(settings, change, code):
    answer = ask({**FIRST, **change}, **settings)
    assert (answer.status_code, answer.json()["code"]) == (413, code)
    assert answer.json()["state_advanced"] is False


@pytest.mark.parametrize(
    ("bodies", "status", "code", "members"),
    [
        ([FIRST, {**FIRST, "append": [9.0]}], 409, "seq_reused", {}),
        ([FIRST, {**FIRST, "seq": 7}], 409, "seq_conflict", {"expected": 2, "durable_seq": 0}),
        ([FIRST, {**FIRST, "model": "other"}], 404, "model_unknown", {}),
        ([{**FIRST, "seq": 2}], 404, "session_unknown", {}),
        ([{**FIRST, "seq": None, "append": []}], 404, "session_unknown", {}),
    ],
)
def test_what_does_not_fit_the_session_is_told(bodies, status, code, members):
    answer = ask(*bodies)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert {name: problem[name] for name in members} == members
    assert problem["state_advanced"] is False


def test_session_of_another_model_is_409():
    async def exchange():
        async with daemon() as (client, sessions):
            await client.post(APPEND, json=FIRST)
            (session,) = sessions.live.values()
            session.model = "large@1"
            return await client.post(APPEND, json={**FIRST, "seq": 2, "model": "small"})

    answer = run(exchange())
    assert (answer.status_code, answer.json()["code"]) == (409, "model_conflict")


def test_ended_session_is_410_until_it_is_reset():
    async def exchange():
        async with daemon() as (client, _):
            await client.post(APPEND, json=FIRST)
            await client.delete("/api/v1/xlstm/sessions/forecast/pump-7")
            return [
                await client.post(APPEND, json=body)
                for body in ({**FIRST, "seq": 2}, FIRST, {**FIRST, "reset": True})
            ]

    *gone, again = run(exchange())
    for answer in gone:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (410, "session_expired")
        assert (problem["reason"], problem["state_advanced"]) == ("ended", False)
    assert again.json()["seq"] == 1


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFull("disk full"), 507, "store_full"),
        (StoreFailed("cannot be read"), 500, "internal"),
        (LaneDown("dead", retry_after_s=2.0), 503, "lane_down"),
        (Overloaded("full", retry_after_s=2.0), 503, "overloaded"),
        (EngineStopped("draining", retry_after_s=2.0), 503, "draining"),
        (DeadlineExceeded("late"), 504, "deadline_exceeded"),
        (ModelFailed("values", "numbers", "nan"), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_errors_of_the_engine_are_told(error, status, code):
    answer = ask(FIRST, error=error)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["state_advanced"] is False
    assert "secret" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


def test_failure_after_the_step_says_that_the_stream_has_moved(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("xlstmd.server.appender.encode_append", fail)
    problem = ask(FIRST).json()
    assert (problem["code"], problem["state_advanced"]) == ("internal", True)


def test_time_beyond_the_calendar_says_that_the_stream_has_moved():
    start = {**FIRST, "start": "9999-12-01", "freq": "D"}
    answer = ask(start, {"session": "pump-7", "seq": 2, "append": [1.0], "horizon": 40})
    assert (answer.status_code, answer.json()["code"]) == (422, "out_of_range")
    assert answer.json()["state_advanced"] is True


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", {"content-type": "application/json"}, 400, "malformed"),
        (b"\xc1", MSGPACK, 400, "malformed"),
        (b"", {"content-type": "application/json"}, 400, "malformed"),
        (b"[" * 100_000, {"content-type": "application/json"}, 422, "bad_type"),
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media"),
        (b"{}", {"content-type": "application/json", "accept": "text/html"}, 406, "not_acceptable"),
        (b"{}", {"content-type": "application/json", "x-deadline-ms": "soon"}, 400, "malformed"),
        (b"{}", {"content-type": "application/json", "x-deadline-ms": "0"}, 504,
         "deadline_exceeded"),
        (b"{}", {"content-type": "application/json", "origin": "http://evil.example"}, 403,
         "bad_origin"),
    ],
)  # fmt: skip
def test_bodies_and_headers_that_cannot_be_used_are_refused(body, headers, status, code):
    answer = ask(body, headers=headers)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["state_advanced"] is False


def test_other_methods_are_405():
    async def exchange():
        async with daemon() as (client, _):
            return await client.get(APPEND)

    answer = run(exchange())
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["state_advanced"] is False


def test_deadline_reaches_the_step():
    async def exchange():
        async with daemon() as (client, sessions):
            await client.post(APPEND, json=FIRST, headers={"x-deadline-ms": "1500"})
            await client.post(APPEND, json=FIRST)
            return [task.deadline_s for task in sessions.tasks]

    short, usual = run(exchange())
    assert 0.0 < short <= 1.5
    assert 100.0 < usual <= Settings().max_deadline_s


def test_step_of_a_client_that_left_is_finished():
    async def exchange():
        async with daemon() as (client, sessions):
            sessions.gate.clear()
            post = asyncio.create_task(client.post(APPEND, json=FIRST))
            while not sessions.tasks:
                await asyncio.sleep(0.01)
            post.cancel()
            await asyncio.gather(post, return_exceptions=True)
            sessions.gate.set()
            await asyncio.sleep(0.05)
            return await client.post(APPEND, json=FIRST), sessions

    answer, sessions = run(exchange())
    assert answer.json()["seq"] == 1
    assert len(sessions.tasks) == 2
    (session,) = sessions.live.values()
    assert len(session.values) == 3


def test_accept_chooses_the_format():
    answer = ask(FIRST, headers={"accept": "application/msgpack"})
    assert msgspec.msgpack.decode(answer.content)["seq"] == 1


def test_metrics_count_appends():
    async def exchange():
        async with daemon() as (client, _):
            await client.post(APPEND, json=FIRST)
            await client.post(APPEND, json={**FIRST, "seq": 9})
            return (await client.get("/metrics")).text

    text = run(exchange())
    for outcome in ("ok", "seq_conflict"):
        assert (
            f'xlstmd_requests_total{{endpoint="{APPEND}",model="small",outcome="{outcome}",'
            'version="1"} 1.0'
        ) in text


@hypothesis_settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), media=st.sampled_from(Media))
def test_no_bytes_break_the_reader(body, media):
    with pytest.raises((Problem, XlstmdError)):
        read_append(body, media, Settings())


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    fields=st.dictionaries(st.sampled_from([*FIRST, "horizon", "anomaly_rate", "freq"]), ANY),
)
def test_no_value_breaks_the_reader(fields):
    try:
        task = task_of({**FIRST, **fields}, Media.MSGPACK)
    except (Problem, XlstmdError):
        return
    assert len(task.request_hash) == 16
    assert not np.isinf(task.values).any()


def test_large_body_is_read_beside_the_loop():
    values = np.arange(50_000, dtype=float).tolist()
    answer = ask({"session": "a", "seq": 1, "append": values, "anomaly_rate": 0.5})
    assert len(json.loads(answer.content)["anomaly"]) == 50_000
