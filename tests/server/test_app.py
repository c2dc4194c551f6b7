"""Probes, pages, metrics and what every answer has."""

import asyncio
import json
import logging
import re

import httpx
import pytest

from tests.fakes import EchoModel, HeldLane, SlowModel
from tests.server.daemon import FORECAST, in_process, lifespan, make_engine, run
from xlstmd.engine.engine import Engine
from xlstmd.errors import ModelFailed, XlstmdError
from xlstmd.server import problems
from xlstmd.server.app import create_app
from xlstmd.server.openapi import READING_ROUTES
from xlstmd.server.openapi_policies import policy_paths
from xlstmd.server.openapi_sessions import session_paths
from xlstmd.server.settings import Settings

POST = {"series": [[1.0, 2.0]], "horizon": 1}
PAGES = ("/", "/live", "/docs", "/console/app.js", "/console/d3.js", "/console/style.css")


def get(path, *, method="GET", headers=None, **settings):
    async def exchange():
        async with in_process(**settings) as client:
            return await client.request(method, path, headers=headers)

    return run(exchange())


@pytest.mark.parametrize("path", [route[0] for route in READING_ROUTES] + ["/metrics"])
def test_routes_answer_get_and_head(path):
    assert get(path).status_code == 200
    assert get(path, method="HEAD").status_code == 200
    refused = get(path, method="POST")
    assert (refused.status_code, refused.json()["code"]) == (405, "method_not_allowed")
    assert refused.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", PAGES)
def test_pages_load_nothing_from_elsewhere(path):
    answer = get(path)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    if answer.headers["content-type"].startswith("text/html"):
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert not re.search(r"""(?:src|href)=["'](?!/)""", answer.text)
        assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=", answer.text)


def test_request_id_is_kept_or_made():
    assert get("/livez", headers={"x-request-id": "job-7"}).headers["x-request-id"] == "job-7"
    made = get("/livez", headers={"x-request-id": "not a name"}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_openapi_has_every_route_and_resolves():
    document = get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    named = {FORECAST, "/metrics", *session_paths(), *policy_paths()}
    named |= {route[0] for route in READING_ROUTES}
    assert named == set(document["paths"])
    references = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])
    body = document["paths"][FORECAST]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["$ref"].endswith("/ForecastRequest")

    async def exchange():
        async with in_process() as client:
            return await client.post(FORECAST, json=body["example"])

    assert run(exchange()).status_code == 200


def test_metrics_count_what_happened():
    async def exchange():
        async with in_process() as client:
            await client.post(FORECAST, json=POST)
            await client.post(FORECAST, json={"series": [[1]], "horizon": 0})
            await client.post(
                FORECAST,
                content=b'{"series": [[1e999]], "horizon": 1}',
                headers={"content-type": "application/json"},
            )
            await client.get("/nowhere")
            await client.post(FORECAST, json=POST, headers={"host": "evil.example"})
            return (await client.get("/metrics")).text

    text = run(exchange())
    route = f'endpoint="{FORECAST}"'
    for line in (
        f'xlstmd_requests_total{{{route},model="small",outcome="ok",version="1"}} 1.0',
        f'xlstmd_requests_total{{{route},model="",outcome="out_of_range",version=""}} 1.0',
        'xlstmd_requests_total{endpoint="other",model="",outcome="not_found",version=""} 1.0',
        'xlstmd_requests_total{endpoint="other",model="",outcome="bad_origin",version=""} 1.0',
        'xlstmd_nonfinite_total{model="",where="input"} 1.0',
        'xlstmd_model_loaded{model="small",version="1"} 1.0',
        'xlstmd_batch_rows_count{model="small"} 1.0',
        'xlstmd_queue_depth{model="small"} 0.0',
    ):
        assert line in text
    for name in (
        "xlstmd_request_seconds_bucket",
        "xlstmd_queue_seconds_bucket",
        "xlstmd_compute_seconds_bucket",
        "xlstmd_queue_bytes",
        "xlstmd_lane_up",
        "xlstmd_lane_heartbeat_age_seconds",
        "xlstmd_event_loop_lag_seconds",
        "xlstmd_gc_pause_seconds",
        "process_resident_memory_bytes",
    ):
        assert name in text


def test_loading_daemon_is_alive_and_not_ready():
    model = SlowModel(name="small")

    async def exchange():
        settings = Settings()
        model.release.clear()
        started = []
        app = create_app(make_engine(settings, model), settings, on_start=started.append)
        async with lifespan(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                early = [
                    await client.get(path)
                    for path in ("/livez", "/startupz", "/readyz", "/api/v1/health")
                ]
                early.append(await client.post(FORECAST, json=POST))
                model.release.set()
                while not started:
                    await asyncio.sleep(0.01)
                return early, await client.get("/readyz"), started

    (alive, *others), ready, started = run(exchange())
    assert alive.status_code == 200
    assert [(other.status_code, other.json()["code"]) for other in others] == [(503, "loading")] * 4
    assert all(int(other.headers["retry-after"]) >= 1 for other in others)
    assert ready.status_code == 200
    assert started == [None]


def test_failed_start_is_told():
    class Broken(EchoModel):
        def forecast(self, *_):
            raise ModelFailed("series[0]", "a forecast", "nothing")

    async def start():
        settings = Settings()
        told = []
        app = create_app(make_engine(settings, Broken("small")), settings, on_start=told.append)
        async with lifespan(app):
            while not told:
                await asyncio.sleep(0.01)
        return told

    (error,) = run(start())
    assert isinstance(error, ModelFailed)


def test_dead_lane_is_not_ready():
    async def exchange():
        settings = Settings()
        lanes = []

        lanes.append(HeldLane(EchoModel("small")))
        engine = Engine(lanes, settings.engine_settings())
        app = create_app(engine, settings)
        async with lifespan(app):
            lanes[0].is_alive = False
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost"
            ) as client:
                return [
                    await client.get("/livez"),
                    await client.get("/readyz"),
                    await client.post(FORECAST, json=POST),
                ]

    alive, ready, forecast = run(exchange())
    assert alive.status_code == 200
    for answer in (ready, forecast):
        assert (answer.status_code, answer.json()["code"]) == (503, "lane_down")
        assert int(answer.headers["retry-after"]) >= 1


def test_unknown_error_tells_nothing_but_its_id(caplog, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("xlstmd.server.forecast.read_question", fail)

    async def exchange():
        async with in_process() as client:
            return await client.post(FORECAST, json=POST)

    with caplog.at_level(logging.ERROR, logger="xlstmd"):
        answer = run(exchange())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert any("secret" in str(record.exc_info) for record in caplog.records)


def test_every_error_class_has_a_row():
    def walk(kind):
        for child in kind.__subclasses__():
            if child.__module__ == "xlstmd.errors":
                yield child
                yield from walk(child)

    for kind in walk(XlstmdError):
        assert any(ancestor in problems.TABLE for ancestor in kind.__mro__), kind
