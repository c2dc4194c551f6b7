"""The HTTP benchmark against a daemon without a model: its figures, its bounds, its refusals."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import xlstmd
from benchmarks import http as bench
from benchmarks import load as load_module
from benchmarks.harness import BenchmarkError, write_report
from benchmarks.load import Job
from benchmarks.processes import LoadGenerator, ServerProcess

HERE = Path(__file__).parent
FAKE = str(HERE / "fake_daemon.py")

SMALL_PLAN = bench.Plan(
    rounds=2, requests=5, latency_seconds=1.0, clients=(1, 4), throughput_seconds=0.1
)


def fake_forecast(histories, horizon, quantile_levels):
    """Does in process what the fake daemon does."""
    last = np.array([history[-1] for history in histories])[:, None]
    median = np.repeat(last, horizon, axis=1)
    return SimpleNamespace(
        median=median, quantiles=median[:, :, None] + np.array(quantile_levels) - 0.5
    )


def fake_daemon(*options):
    return ServerProcess([FAKE, "--port", "{port}", *options], ready_path="/readyz")


@pytest.fixture(scope="module")
def load():
    with LoadGenerator() as generator:
        yield generator


@pytest.fixture(scope="module")
def port():
    with fake_daemon() as number:
        yield number


def make_job(port, **changes):
    settings = {
        "port": port,
        "method": "GET",
        "path": "/readyz",
        "bodies": ("",),
        "clients": 3,
        "max_requests": 10,
        "max_seconds": 5.0,
    }
    return Job(**(settings | changes))


def test_a_whole_run_gives_every_row(monkeypatch, tmp_path, capsys):
    model = SimpleNamespace(forecast=fake_forecast)
    monkeypatch.setattr(xlstmd, "load_forecaster", lambda _name, **_: model, raising=False)
    monkeypatch.setattr(bench, "daemon", lambda *_: fake_daemon())
    monkeypatch.setattr(bench, "Plan", lambda **_: SMALL_PLAN)
    path = tmp_path / "http.json"
    assert bench.main(["--output", str(path)]) == 0
    rows = {row["id"]: row for row in json.loads(path.read_text())["rows"]}
    for clients in SMALL_PLAN.clients:
        for name in ("rate-batched", "rate-unbatched", "rate-hello", "batching-gain"):
            assert rows[f"{name}-{clients}"]["value"] > 0
        assert rows[f"loaded-batched-{clients}-p99"]["unit"] == "ms"
        assert 0 < rows[f"load-generator-cpu-{clients}"]["value"] < 200
    for name in ("p50", "p99"):
        assert rows[f"http-{name}"]["peer"] == rows[f"bare-{name}"]["value"]
        assert rows[f"http-added-{name}"]["peer"] == rows[f"hello-{name}"]["value"]
    assert rows["http-p50"]["parity"] <= rows["http-p50"]["tolerance"] == 1e-6
    assert "Wrote http.json." in capsys.readouterr().out


def test_served_forecasts_equal_bare_ones(load, port):
    assert bench.check_parity(fake_forecast, load, [port]) < 1e-12


def test_no_figure_when_served_forecasts_differ(load, tmp_path):
    with fake_daemon("--offset", "0.01") as other:
        parity = bench.check_parity(fake_forecast, load, [other])
    assert parity > 1e-5
    measured = bench.Measured.empty()
    for side in ("bare", "http", "hello"):
        measured.latency[side].add([1.0, 2.0])
    with pytest.raises(BenchmarkError, match="http-p50: expected the peer's result within 1e-06"):
        write_report(bench.make_rows(measured, parity), tmp_path / "http.json")


def test_requests_are_bounded_in_count(load, port):
    outcome = load.run(make_job(port, max_requests=10))
    assert len(outcome.latencies_ms) == 10
    assert outcome.statuses == {"200": 10}


def test_requests_are_bounded_in_time(load, port):
    start = time.perf_counter()
    outcome = load.run(make_job(port, max_requests=10**9, max_seconds=0.2))
    assert time.perf_counter() - start < 2.0
    assert 0.2 <= outcome.seconds < 1.0


def test_each_client_sends_its_own_body(load, port):
    series = bench.make_series(3)
    job = make_job(
        port,
        method="POST",
        path=bench.PATH,
        bodies=tuple(bench.request_body(one) for one in series),
        keep_answers=True,
    )
    for one, answer in zip(series, load.run(job).answers, strict=True):
        assert json.loads(answer)["forecasts"][0]["quantiles"]["0.5"][0] == pytest.approx(one[-1])


def test_an_answer_that_is_not_200_stops_the_benchmark(load):
    with fake_daemon("--status", "503") as other:
        job = make_job(
            other, method="POST", path=bench.PATH, bodies=('{"series": [[1]], "horizon": 1}',)
        )
        with pytest.raises(BenchmarkError, match=r"expected only status 200, got {'503': 10}"):
            load.run(job)


def test_a_server_that_never_answers_stops_the_benchmark(monkeypatch):
    monkeypatch.setattr(load_module, "ANSWER_SECONDS", 0.1)
    with fake_daemon("--mute") as other:
        job = make_job(other, method="POST", path=bench.PATH, bodies=("{}",), max_seconds=0.1)
        with pytest.raises(TimeoutError):
            load_module.asyncio.run(load_module.run_job(job))


def test_nobody_listening_stops_the_benchmark(load):
    with fake_daemon() as gone:
        pass
    with pytest.raises(BenchmarkError, match="got ConnectionRefusedError"):
        load.run(make_job(gone))


def test_a_server_that_does_not_start_is_quoted():
    broken = ServerProcess(["-c", "raise SystemExit('no such model')"], ready_path="/")
    with pytest.raises(BenchmarkError, match="no such model"), broken:
        pytest.fail("was entered")


def test_the_callers_daemon_settings_do_not_reach_the_servers(monkeypatch):
    monkeypatch.setenv("XLSTMD_MODEL", "other")
    code = "import os, sys; sys.exit(str(sorted(n for n in os.environ if n.startswith('XLSTMD_'))))"
    server = ServerProcess(["-c", code], ready_path="/", settings={"XLSTMD_STATE_DIR": "x"})
    with pytest.raises(BenchmarkError, match=r"got\n\['XLSTMD_STATE_DIR'\]"), server:
        pytest.fail("was entered")
