"""The routes over the real engine: exact streams that outlive a daemon, over HTTP and WebSocket."""

import json
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.server.daemon import FORECAST, on_socket
from tests.server.test_append import APPEND
from tests.small_models import random_forecaster, sample_series
from xlstmd.engine.engine import Engine
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.server.appender import STREAM_PATH

SESSIONS = "/api/v1/xlstm/sessions/forecast"
HORIZON = 5
WAIT_S = 10.0


@pytest.fixture(scope="module")
def forecaster():
    return random_forecaster()


@contextmanager
def daemon(forecaster, folder=None, **settings):
    """Gives a client of a daemon whose sessions lie in a folder."""
    store = None if folder is None else SqliteStore(StoreFolder(folder))

    def make(lanes, bounds):
        return Engine(lanes, bounds, store=store)

    with (
        on_socket(forecaster, kind=make, **settings) as (port, _),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as client,
    ):
        yield client


def points(seed=0, length=150):
    series = sample_series("season", length, seed)
    series[40:43] = np.nan
    return [None if np.isnan(value) else value for value in series.tolist()]


def ask(client, **body):
    answer = client.post(APPEND, json={"session": "pump-7", **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


def whole(client, history):
    body = {"series": [history], "horizon": HORIZON}
    return client.post(FORECAST, json=body).json()["forecasts"][0]


def close_to(one, other):
    for name in ("mean", "median"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5)
    for level, values in one["quantiles"].items():
        np.testing.assert_allclose(values, other["quantiles"][level], rtol=1e-5, atol=1e-5)


def test_stream_equals_the_whole_at_every_cut(forecaster):
    history = points()
    with daemon(forecaster) as client:
        taken = 0
        for seq, size in enumerate((1, 7, 32, 60, 50), start=1):
            part = history[taken : taken + size]
            taken += size
            answer = ask(client, seq=seq, append=part, horizon=HORIZON)
            assert answer["observed"] == taken
            close_to(answer["forecast"], whole(client, history[:taken]))
        asked = ask(client, append=[], horizon=HORIZON)
        assert (asked["seq"], asked["forecast"]) == (5, answer["forecast"])


def test_same_request_gets_the_same_answer(forecaster):
    body = {"seq": 1, "append": points(), "horizon": HORIZON, "anomaly_rate": 0.05}
    with daemon(forecaster) as client:
        first, second = ask(client, **body), ask(client, **body)
    for name in ("seq", "observed", "forecast", "anomaly"):
        assert first[name] == second[name]
    assert [entry is None for entry in first["anomaly"]] == [value is None for value in points()]
    assert any(entry and entry["surprise"] for entry in first["anomaly"])


def test_sessions_outlive_a_daemon(forecaster, tmp_path):
    history = points()
    with daemon(forecaster, tmp_path) as client:
        ask(client, seq=1, append=history[:100], start="2026-01-01", freq="h")
        shown = client.get(f"{SESSIONS}/pump-7").json()
        assert (shown["seq"], shown["tier"]) == (1, "hot")
    with daemon(forecaster, tmp_path) as client:
        shown = client.get(f"{SESSIONS}/pump-7").json()
        assert (shown["seq"], shown["durable_seq"], shown["tier"]) == (1, 1, "stored")
        answer = ask(client, seq=2, append=history[100:], horizon=HORIZON)
        close_to(answer["forecast"], whole(client, history))
        assert answer["forecast"]["timestamps"][0] == "2026-01-07T06:00:00Z"
        again = client.post(APPEND, json={"session": "pump-7", "seq": 1, "append": [1.0]})
        assert (again.status_code, again.json()["code"]) == (409, "seq_conflict")
        assert again.json()["expected"] == 3


def test_every_step_is_durable_where_that_is_asked_for(forecaster, tmp_path):
    with daemon(forecaster, tmp_path) as client:
        answer = ask(client, seq=1, append=[1.0, 2.0], durable="every_step")
        assert answer["durable_seq"] == 1
        assert ask(client, seq=2, append=[3.0])["durable_seq"] == 2


def test_session_is_handed_over_and_forked(forecaster):
    history = points(seed=1)
    with daemon(forecaster) as client:
        ask(client, seq=1, append=history)
        snapshot = client.post(f"{SESSIONS}/pump-7/export").content
        forked = client.post(f"{SESSIONS}/pump-7/fork", json={"to": "what-if"})
        assert (forked.status_code, forked.json()["seq"]) == (200, 1)
        expected = ask(client, append=[], horizon=HORIZON)["forecast"]
        assert ask(client, session="what-if", append=[], horizon=HORIZON)["forecast"] == expected
        taken = client.post(
            f"{SESSIONS}/import",
            params={"session": "copy"},
            content=snapshot,
            headers={"content-type": "application/octet-stream"},
        )
        assert (taken.status_code, taken.json()["session"]) == (200, "copy")
    with daemon(forecaster) as client:
        client.post(
            f"{SESSIONS}/import",
            content=snapshot,
            headers={"content-type": "application/octet-stream"},
        )
        assert ask(client, append=[], horizon=HORIZON)["forecast"] == expected


def test_ended_session_is_gone_until_it_is_reset(forecaster):
    with daemon(forecaster) as client:
        ask(client, seq=1, append=[1.0])
        assert client.delete(f"{SESSIONS}/pump-7").json()["ended"] is True
        gone = client.post(APPEND, json={"session": "pump-7", "seq": 1, "append": [1.0]})
        assert (gone.status_code, gone.json()["reason"]) == (410, "ended")
        assert ask(client, seq=1, append=[1.0], reset=True)["observed"] == 1


def test_frames_go_the_same_way(forecaster):
    history = points()
    with daemon(forecaster) as client:
        url = f"ws://127.0.0.1:{client.base_url.port}{STREAM_PATH}"
        with connect(url) as stream:
            assert json.loads(stream.recv(WAIT_S))["model"] == "tiny@1"
            frames = [history[:64], *([value] for value in history[64:80])]
            for seq, part in enumerate(frames, start=1):
                body = {"session": "live", "seq": seq, "append": part, "anomaly_rate": 0.1}
                stream.send(json.dumps({**body, "horizon": HORIZON}))
            answers = [json.loads(stream.recv(WAIT_S)) for _ in frames]
        assert [answer["seq"] for answer in answers] == list(range(1, 18))
        close_to(answers[-1]["forecast"], whole(client, history[:80]))


def test_what_is_on_its_way_when_a_drain_begins_is_kept(forecaster, tmp_path):
    with ExitStack() as streams:
        with daemon(forecaster, tmp_path) as client:
            url = f"ws://127.0.0.1:{client.base_url.port}{STREAM_PATH}"
            stream = streams.enter_context(connect(url))
            stream.recv(WAIT_S)
            stream.send(json.dumps({"session": "drain", "seq": 1, "append": [1.0, 2.0]}))
            assert json.loads(stream.recv(WAIT_S))["seq"] == 1
        with pytest.raises(ConnectionClosed) as closed:
            stream.recv(WAIT_S)
    assert closed.value.rcvd.code == 1012
    with daemon(forecaster, tmp_path) as client:
        assert client.get(f"{SESSIONS}/drain").json()["durable_seq"] == 1


def test_models_tell_bytes_and_number_of_slots(forecaster, tmp_path):
    with daemon(forecaster, tmp_path, session_bytes=10 * forecaster.slot_bytes) as client:
        for path in ("/api/v1/xlstm/models", "/api/v1/xlstm/info"):
            (model,) = client.get(path).json()["models"]
            assert (model["slot_bytes"], model["slots"]) == (forecaster.slot_bytes, 10)
        for name in range(12):
            ask(client, session=f"slot-{name}", seq=1, append=[1.0])
        hot = 'xlstmd_sessions{model="tiny",tier="hot"} '
        lines = client.get("/metrics").text.splitlines()
        (count,) = (float(line.removeprefix(hot)) for line in lines if line.startswith(hot))
        assert count == 10
