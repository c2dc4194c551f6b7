"""The session routes: show, end, export, import, fork; every refusal has `state_advanced`."""

import json

import msgspec
import pytest

from tests.server.daemon import run
from tests.server.test_append import APPEND, FIRST, daemon
from xlstmd.errors import LaneDown, StoreFull

SESSIONS = "/api/v1/xlstm/sessions/forecast"
ONE = f"{SESSIONS}/pump-7"
BINARY = {"content-type": "application/octet-stream"}


def after_first(*requests, error=None):
    """Starts a session, then sends requests: method, path, options; gives their answers."""

    async def exchange():
        async with daemon() as (client, sessions):
            await client.post(APPEND, json={**FIRST, "start": "2026-01-01", "freq": "h"})
            if error is not None:
                for name in ("info", "end", "export", "fork", "take_over"):
                    setattr(sessions, name, failing(error))
            return [
                await client.request(method, path, **options) for method, path, options in requests
            ]

    return run(exchange())


def failing(error):
    async def fail(*_):
        raise error

    return fail


def snapshot_of_another_daemon():
    (exported,) = after_first(("POST", f"{ONE}/export", {}))
    return exported.content


def refuses(answer, status, code):
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["state_advanced"] is False
    return problem


def test_session_is_shown():
    shown, head = after_first(("GET", ONE, {}), ("HEAD", ONE, {}))
    content = shown.json()
    assert shown.status_code == head.status_code == 200
    assert set(content.pop("timing")) == {"queue_ms", "compute_ms", "total_ms"}
    assert content.pop("request_id") == shown.headers["x-request-id"]
    assert content == {
        "session": "pump-7", "surface": "forecast", "seq": 1, "durable_seq": 0, "bytes": 24,
        "model": "small@1", "created": "2026-01-01T00:00:00.123456Z",
        "last_used": "2026-01-01T00:00:00.123456Z", "tier": "hot",
    }  # fmt: skip


def test_session_is_shown_in_messagepack():
    (shown,) = after_first(("GET", ONE, {"headers": {"accept": "application/msgpack"}}))
    assert msgspec.msgpack.decode(shown.content)["seq"] == 1


def test_session_ends_once():
    ended, again, shown = after_first(("DELETE", ONE, {}), ("DELETE", ONE, {}), ("GET", ONE, {}))
    content = ended.json()
    assert (content["session"], content["ended"], content["model"]) == ("pump-7", True, "small@1")
    for answer in (again, shown):
        assert refuses(answer, 410, "session_expired")["reason"] == "ended"


def test_session_goes_on_in_another_daemon():
    snapshot = snapshot_of_another_daemon()
    step = {"session": "pump-7", "seq": 2, "append": [4.0], "horizon": 1}

    async def exchange():
        async with daemon() as (client, _):
            taken = await client.post(f"{SESSIONS}/import", content=snapshot, headers=BINARY)
            return taken, await client.post(APPEND, json=step)

    taken, went_on = run(exchange())
    assert (taken.json()["session"], taken.json()["seq"]) == ("pump-7", 1)
    content = went_on.json()
    assert content["observed"] == 4
    assert content["forecast"]["timestamps"] == ["2026-01-01T04:00:00Z"]


def test_import_takes_another_name_but_no_live_one():
    named = {"params": {"session": "pump-8"}, "content": snapshot_of_another_daemon()}
    named["headers"] = BINARY
    same = {**named, "params": {}}
    first, second, live = after_first(
        ("POST", f"{SESSIONS}/import", named),
        ("POST", f"{SESSIONS}/import", named),
        ("POST", f"{SESSIONS}/import", same),
    )
    assert first.json()["session"] == "pump-8"
    refuses(second, 409, "session_exists")
    refuses(live, 409, "session_exists")


def damaged(snapshot):
    return snapshot[:-1] + bytes([snapshot[-1] ^ 1])


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b""}, 422, "undecodable"),
        ({"content": b"x" * 100}, 422, "undecodable"),
        ({"content": damaged}, 422, "undecodable"),
        ({"headers": {"content-type": "application/json"}}, 415, "unsupported_media"),
        ({"params": {"session": "a b"}}, 422, "out_of_range"),
        ({"params": {"name": "x"}}, 422, "unknown_field"),
        ({"headers": BINARY | {"accept": "text/html"}}, 406, "not_acceptable"),
    ],
)
def test_bad_imports_are_refused(options, status, code):
    snapshot = snapshot_of_another_daemon()
    if callable(options.get("content")):
        options = {**options, "content": options["content"](snapshot)}
    request = {"content": snapshot, "headers": BINARY, **options}
    (answer,) = after_first(("POST", f"{SESSIONS}/import", request))
    refuses(answer, status, code)


def test_large_import_is_413():
    async def exchange():
        async with daemon(max_body_bytes=50) as (client, _):
            return await client.post(f"{SESSIONS}/import", content=b"x" * 51, headers=BINARY)

    refuses(run(exchange()), 413, "body_too_large")


def test_session_is_forked():
    forked, original, again = after_first(
        ("POST", f"{ONE}/fork", {"json": {"to": "pump-9"}}),
        ("GET", f"{SESSIONS}/pump-9", {}),
        ("POST", f"{ONE}/fork", {"json": {"to": "pump-9"}}),
    )
    assert (forked.json()["session"], forked.json()["seq"]) == ("pump-9", 1)
    assert original.json()["bytes"] == 24
    refuses(again, 409, "session_exists")


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"{"}, 400, "malformed"),
        ({"json": {}}, 422, "missing_field"),
        ({"json": {"to": "a b"}}, 422, "out_of_range"),
        ({"json": {"to": 7}}, 422, "bad_type"),
        ({"json": {"to": "x", "from": "y"}}, 422, "unknown_field"),
        ({"content": b"{}", "headers": BINARY}, 415, "unsupported_media"),
    ],
)
def test_bad_forks_are_refused(options, status, code):
    options = {"headers": {"content-type": "application/json"}, **options}
    (answer,) = after_first(("POST", f"{ONE}/fork", options))
    refuses(answer, status, code)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["pump-0", "import", "export"])
def test_unknown_sessions_are_404(method, name):
    (answer,) = after_first((method, f"{SESSIONS}/{name}", {}))
    refuses(answer, 404, "session_unknown")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/xlstm/sessions", 404, "not_found"),
        ("GET", "/api/v1/xlstm/sessions/forecast", 404, "not_found"),
        ("GET", "/api/v1/xlstm/sessions/encode/cam-3", 404, "not_found"),
        ("POST", "/api/v1/xlstm/sessions/encode/import", 404, "not_found"),
        ("POST", f"{ONE}/explode", 404, "not_found"),
        ("GET", f"{SESSIONS}/a%20b", 422, "out_of_range"),
        ("GET", f"{SESSIONS}/{'x' * 129}", 422, "out_of_range"),
        ("POST", ONE, 405, "method_not_allowed"),
        ("PUT", ONE, 405, "method_not_allowed"),
        ("GET", f"{ONE}/export", 405, "method_not_allowed"),
        ("DELETE", f"{ONE}/fork", 405, "method_not_allowed"),
    ],
)
def test_other_paths_and_methods_are_refused(method, path, status, code):
    (answer,) = after_first((method, path, {}))
    refuses(answer, status, code)
    if status == 405:
        assert answer.headers["allow"] == ("DELETE, GET, HEAD" if path == ONE else "POST")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFull("disk full"), 507, "store_full"),
        (LaneDown("dead", retry_after_s=2.0), 503, "lane_down"),
    ],
)
def test_errors_of_the_engine_are_told(error, status, code):
    snapshot = snapshot_of_another_daemon()
    answers = after_first(
        ("GET", ONE, {}),
        ("DELETE", ONE, {}),
        ("POST", f"{ONE}/export", {}),
        ("POST", f"{ONE}/fork", {"json": {"to": "pump-9"}}),
        ("POST", f"{SESSIONS}/import", {"content": snapshot, "headers": BINARY}),
        error=error,
    )
    for answer in answers:
        refuses(answer, status, code)
        assert ("retry-after" in answer.headers) == (status == 503)


def test_foreign_pages_change_nothing():
    evil = {"headers": {"origin": "http://evil.example"}}
    for answer in after_first(("DELETE", ONE, evil), ("POST", f"{ONE}/export", evil)):
        refuses(answer, 403, "bad_origin")


def test_metrics_name_routes_not_sessions():
    answers = after_first(("GET", ONE, {}), ("GET", "/metrics", {}))
    assert 'endpoint="/api/v1/xlstm/sessions/{surface}/{id}",model="small"' in answers[1].text
    assert "pump-7" not in answers[1].text


def test_document_lists_the_session_routes():
    (answer,) = after_first(("GET", "/openapi.json", {}))
    paths = json.loads(answer.content)["paths"]
    one = "/api/v1/xlstm/sessions/{surface}/{id}"
    assert set(paths[one]) == {"get", "delete"}
    append = paths[APPEND]["post"]["requestBody"]["content"]["application/json"]["example"]
    fork = paths[f"{one}/fork"]["post"]["requestBody"]["content"]["application/json"]["example"]
    taken, forked = after_first(
        ("POST", APPEND, {"json": {**append, "session": "pump-1"}}),
        ("POST", f"{ONE}/fork", {"json": fork}),
    )
    assert taken.status_code == forked.status_code == 200
    for path in (f"{one}/export", f"{one}/fork", "/api/v1/xlstm/sessions/{surface}/import", APPEND):
        assert set(paths[path]) == {"post"}
