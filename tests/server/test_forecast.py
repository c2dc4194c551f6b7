"""The forecast route: formats, series in all their forms, deadlines, batching, isolation."""

import asyncio
import json
import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.fakes import NAN_MAKER, POISON, EchoModel, FailingModel, NanRowModel, SlowModel
from tests.server.daemon import FORECAST, in_process, run
from xlstmd.errors import XlstmdError
from xlstmd.server.decode import decode_request
from xlstmd.server.media import Media
from xlstmd.server.problems import Problem
from xlstmd.server.question import read_question
from xlstmd.server.settings import Settings

MSGPACK = {"content-type": "application/msgpack"}


def ask(body, *models, headers=None, **settings):
    """Sends one request to a fresh daemon and gives the answer."""

    async def exchange():
        async with in_process(*models, **settings) as client:
            if isinstance(body, bytes):
                return await client.post(FORECAST, content=body, headers=headers)
            return await client.post(FORECAST, json=body, headers=headers)

    return run(exchange())


def pack(body):
    return msgspec.msgpack.encode(body)


def binary(values, dtype="<f4"):
    array = np.array(values, dtype=dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": array.tobytes()}


class RecordingModel(EchoModel):
    """Keeps the histories that it was asked about."""

    def __init__(self):
        super().__init__("small")
        self.histories = []

    def forecast(self, histories, horizon, quantile_levels):
        self.histories = [history.tolist() for history in histories]
        return super().forecast(histories, horizon, quantile_levels)


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<i4", "<u1"])
def test_binary_arrays_are_read(dtype):
    model = RecordingModel()
    series = [{"values": binary([1, 2, 3], dtype)}, binary([4, 5], dtype), [6.0, None]]
    answer = ask(pack({"series": series, "horizon": 2}), model, headers=MSGPACK)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/msgpack"
    body = msgspec.msgpack.decode(answer.content)
    assert [forecast["median"] for forecast in body["forecasts"]] == [[3, 3], [5, 5], [6, 6]]
    assert model.histories[0] == [1.0, 2.0, 3.0]
    assert math.isnan(model.histories[2][1])


def test_table_of_series_is_read():
    body = pack({"series": binary([[1, math.nan], [3, 4]]), "horizon": 1})
    answer = ask(body, headers={**MSGPACK, "accept": "application/json"})
    assert [forecast["median"] for forecast in answer.json()["forecasts"]] == [[1.0], [4.0]]


@pytest.mark.parametrize(
    ("array", "code", "field"),
    [
        ({**binary([1, 2]), "dtype": "<f8"}, "bad_type", "series[0].values.dtype"),
        ({**binary([1, 2]), "dtype": "|O"}, "bad_type", "series[0].values.dtype"),
        ({**binary([1, 2]), "shape": [3]}, "bad_shape", "series[0].values.data"),
        ({**binary([1, 2]), "shape": [-2]}, "bad_shape", "series[0].values.shape"),
        ({**binary([1, 2]), "shape": [2, 1]}, "bad_shape", "series[0].values.shape"),
        ({**binary([1, 2]), "shape": [2**62, 4]}, "bad_shape", "series[0].values.shape"),
        ({**binary([1, 2]), "shape": [2**63, 2]}, "bad_shape", "series[0].values.shape"),
        (binary([1, math.inf]), "non_finite", "series[0].values"),
        (binary([math.nan]), "empty", "series[0].values"),
        ({"dtype": "<f4", "shape": [0], "data": b""}, "empty", "series[0].values"),
    ],
)
def test_bad_binary_arrays_are_refused(array, code, field):
    answer = ask(pack({"series": [{"values": array}], "horizon": 1}), headers=MSGPACK)
    assert answer.status_code == 422
    assert answer.json()["code"] == code
    assert answer.json()["field"].startswith(field)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_list_of_messagepack_has_no_nan(value):
    answer = ask(pack({"series": [[1.0, None, value]], "horizon": 1}), headers=MSGPACK)
    assert answer.json()["code"] == "non_finite"
    assert "position 2" in answer.json()["got"]


def test_binary_array_in_json_is_refused():
    body = {"series": [{"values": {"dtype": "<f4", "shape": [1], "data": "AAAA"}}], "horizon": 1}
    assert ask(body).json()["code"] == "bad_type"


def test_accept_chooses_the_format():
    answer = ask(
        {"series": [[1]], "horizon": 1}, headers={"accept": "application/msgpack, */*;q=0.1"}
    )
    assert msgspec.msgpack.decode(answer.content)["forecasts"][0]["median"] == [1.0]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"start": "2026-01-01", "freq": "D"}, ["2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z"]),
        ({"start": "2026-01-31", "freq": "ME"}, ["2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"]),
        ({"start": "2026-01-01", "freq": "B"}, ["2026-01-06T00:00:00Z", "2026-01-07T00:00:00Z"]),
        ({"start": "2026-01-01T01:00:00+02:00", "freq": "6h"},
         ["2026-01-01T17:00:00Z", "2026-01-01T23:00:00Z"]),
        ({"timestamps": ["2024-02-27", "2024-02-28", "2024-02-29"]},
         ["2024-03-01T00:00:00Z", "2024-03-02T00:00:00Z"]),
        ({"timestamps": ["2026-01-01", "2026-02-01", "2026-03-01"], "freq": "MS"},
         ["2026-04-01T00:00:00Z", "2026-05-01T00:00:00Z"]),
    ],
)  # fmt: skip
def test_times_go_on(times, expected):
    answer = ask({"series": [{"values": [1, 2, 3], **times}], "horizon": 2})
    assert answer.json()["forecasts"][0]["timestamps"] == expected


@pytest.mark.parametrize(
    ("times", "code", "field"),
    [
        ({"start": "2026-01-01"}, "missing_field", "series[0].freq"),
        ({"freq": "D"}, "missing_field", "series[0].start"),
        ({"start": "soon", "freq": "D"}, "out_of_range", "series[0].start"),
        ({"start": "9999-12-30", "freq": "D"}, "out_of_range", "horizon"),
        ({"timestamps": ["2026-01-01"] * 3}, "out_of_range", "series[0].timestamps[1]"),
        ({"timestamps": ["2026-01-01", "2026-01-02", "2026-01-04"], "freq": "D"}, "out_of_range",
         "series[0].timestamps[2]"),
        # The clocks of Berlin went forward: no regular step in UTC.
        ({"timestamps": ["2026-03-28T00:00:00+01:00", "2026-03-29T00:00:00+01:00",
                         "2026-03-30T00:00:00+02:00"]}, "out_of_range", "series[0].timestamps[2]"),
        ({"timestamps": [], "freq": "D"}, "bad_shape", "series[0].timestamps"),
        ({"timestamps": ["2026-01-01"] * 3, "start": "2026-01-01"}, "out_of_range",
         "series[0].start"),
    ],
)  # fmt: skip
def test_bad_times_are_refused(times, code, field):
    answer = ask({"series": [{"values": [1, 2, 3], **times}], "horizon": 2})
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["field"] == field


@pytest.mark.parametrize("values", [[5.0] * 40, [3.0], [1e300, -1e300], [5e-324], [None, 2, None]])
def test_odd_series_have_a_forecast(values):
    answer = ask({"series": [values], "horizon": 3, "quantile_levels": [1e-9, 0.5, 1 - 1e-9]})
    assert answer.status_code == 200
    quantiles = answer.json()["forecasts"][0]["quantiles"]
    assert list(quantiles) == ["1e-09", "0.5", "0.999999999"]


def test_levels_keep_their_order_and_repeat_never():
    body = {"series": [[1]], "horizon": 1, "quantile_levels": [0.9, 0.1]}
    assert list(ask(body).json()["forecasts"][0]["quantiles"]) == ["0.9", "0.1"]
    again = ask({**body, "quantile_levels": [0.9, 0.9]})
    assert (again.status_code, again.json()["field"]) == (422, "quantile_levels[1]")


@pytest.mark.parametrize(
    ("body", "settings", "code"),
    [
        ({"series": [[1]] * 3, "horizon": 1}, {"max_series": 2}, "too_many_items"),
        ({"series": [[1, 2], [3]], "horizon": 1}, {"max_points": 2}, "too_many_items"),
        ({"series": [[1]], "horizon": 10}, {"max_answer_numbers": 50}, "too_many_items"),
        ({"series": [[1] * 40], "horizon": 1}, {"max_body_bytes": 100}, "body_too_large"),
    ],
)
def test_more_than_allowed_is_413(body, settings, code):
    answer = ask(body, **settings)
    assert (answer.status_code, answer.json()["code"]) == (413, code)


def test_bodies_of_all_requests_are_bounded():
    answer = ask({"series": [[1] * 40], "horizon": 1}, max_pending_body_bytes=50)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1


def test_full_queue_is_503():
    answer = ask({"series": [[1]] * 3, "horizon": 1}, max_queue_rows=2)
    assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1


def test_deadline_passes_in_the_queue():
    model = SlowModel(name="small")

    async def exchange():
        async with in_process(model) as client:
            model.release.clear()
            try:
                return await client.post(
                    FORECAST,
                    json={"series": [[1]], "horizon": 1},
                    headers={"x-deadline-ms": "60"},
                )
            finally:
                model.release.set()

    answer = run(exchange())
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert answer.json()["state_advanced"] is False


@pytest.mark.parametrize(
    ("model", "mark"),
    [(NanRowModel(name="small"), NAN_MAKER), (FailingModel(name="small"), POISON)],
)
def test_failing_row_fails_alone(model, mark):
    async def exchange():
        async with in_process(model) as client:
            bodies = [{"series": [[float(value)]], "horizon": 2} for value in (1, mark, 3)]
            return await asyncio.gather(*(client.post(FORECAST, json=body) for body in bodies))

    good, bad, other = run(exchange())
    assert [good.status_code, bad.status_code, other.status_code] == [200, 500, 200]
    assert other.json()["forecasts"][0]["median"] == [3.0, 3.0]
    assert bad.json()["code"] == "internal"
    assert "Traceback" not in bad.text


def test_clients_are_batched_together():
    model = SlowModel(name="small")

    async def exchange():
        async with in_process(model) as client:
            before = len(model.calls)
            model.release.clear()
            model.entered.clear()
            posts = [
                asyncio.create_task(
                    client.post(FORECAST, json={"series": [[float(value)]], "horizon": 2})
                )
                for value in range(9)
            ]
            await asyncio.to_thread(model.entered.wait, 5.0)
            while (await client.get("/api/v1/health")).json()["models"][0]["queued_series"] < 9:
                await asyncio.sleep(0.01)
            model.release.set()
            return await asyncio.gather(*posts), model.calls[before:]

    answers, calls = run(exchange())
    medians = [answer.json()["forecasts"][0]["median"] for answer in answers]
    assert medians == [[value, value] for value in range(9)]
    assert len(calls) <= 3
    assert max(rows for rows, *_ in calls) >= 4


def test_large_bodies_and_answers_leave_the_loop_free():
    body = json.dumps({"series": [[1.5] * 500] * 400, "horizon": 100})
    worst = 0.0

    async def exchange():
        nonlocal worst
        async with in_process() as client:
            post = asyncio.create_task(
                client.post(FORECAST, content=body, headers={"content-type": "application/json"})
            )
            loop = asyncio.get_running_loop()
            while not post.done():
                started = loop.time()
                await asyncio.sleep(0.001)
                worst = max(worst, loop.time() - started)
            return await post

    answer = run(exchange())
    assert len(answer.json()["forecasts"]) == 400
    assert worst < 0.25


def test_client_that_leaves_frees_the_queue():
    model = SlowModel(name="small")

    async def exchange():
        async with in_process(model) as client:
            model.release.clear()
            post = asyncio.create_task(
                client.post(FORECAST, json={"series": [[1.0]], "horizon": 1})
            )
            await asyncio.sleep(0.1)
            post.cancel()
            with pytest.raises(asyncio.CancelledError):
                await post
            model.release.set()
            answer = await client.get("/api/v1/health")
            return answer.json()["models"][0]["queued_series"]

    assert run(exchange()) == 0


CORPUS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe",
    b'{"series": [[1]], "horizon": 1} x',
    b'{"series": [[1]], "horizon": 1',
    b'{"series": [[01]], "horizon": 1}',
    b'{"series": [[1,]], "horizon": 1}',
    b"{'series': [[1]]}",
    b"[" * 100_000,
    b'{"series":' + b"[" * 100_000,
    b'{"series":' + b'{"a":' * 100_000,
    b'{"series": [{"past_covariates":' + b'{"a":' * 100_000,
    b'{"series": [["' + b"\xc3\x28" + b'"]], "horizon": 1}',
    b'{"series": [[1]], "horizon": 1e3}',
    b'{"series": [[1]], "horizon": 99999999999999999999999999}',
    b'{"series": [[1]], "horizon": true}',
    b'{"series": [[true]], "horizon": 1}',
    b'{"series": [1], "horizon": 1}',
    b'{"series": "x", "horizon": 1}',
    b'{"series": [[1]], "horizon": 1, "model": ""}',
    b'{"series": [[1]], "horizon": 1, "quantile_levels": []}',
    b'{"series": [[1]], "horizon": 1, "quantile_levels": [1e999]}',
    b'{"\\u0000\\n": 1}',
]


@pytest.mark.parametrize("body", CORPUS, ids=range(len(CORPUS)))
def test_malformed_bodies_are_refused(body):
    answer = ask(body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    problem = answer.json()
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]


@hypothesis_settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=200), media=st.sampled_from(Media))
def test_no_bytes_break_the_decoder(body, media):
    with pytest.raises((Problem, XlstmdError)):
        read_question(body, media, Settings())


ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["values", "id", "dtype", "shape", "data", "start", "freq", "x"]),
        inner, max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@hypothesis_settings(max_examples=300, deadline=None)
@given(series=st.lists(ANY, max_size=3), horizon=ANY, levels=ANY)
def test_no_value_breaks_the_reader(series, horizon, levels):
    body = pack({"series": series, "horizon": horizon, "quantile_levels": levels})
    try:
        question = read_question(body, Media.MSGPACK, Settings())
        question.task(1.0)
    except (Problem, XlstmdError):
        return
    assert question.horizon >= 1


def test_duplicate_field_counts_last():
    request = decode_request(b'{"series": [[1]], "horizon": 1, "horizon": 3}', Media.JSON)
    assert request.horizon == 3


def test_timing_tells_queue_and_compute():
    timing = ask({"series": [[1]], "horizon": 1}).json()["timing"]
    assert timing["total_ms"] >= timing["compute_ms"] >= 0.0
