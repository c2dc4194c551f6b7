"""The life of a daemon process: start, signals, drain, failures; and its settings and logs."""

import io
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.faulty_models import HANG, NAP
from tests.server.browser import free_port
from tests.server.daemon import FORECAST
from tests.server.test_append import APPEND
from xlstmd.errors import ConfigError
from xlstmd.models.checkpoint import shipped
from xlstmd.server.logs import JsonFormatter, TextFormatter, configure_logs
from xlstmd.server.serve import open_socket, url_of
from xlstmd.server.service_manager import ServiceManager
from xlstmd.server.settings import LANES, Settings

ROOT = Path(__file__).parents[2]

# A daemon whose model does what series tell it.
PROGRAM = """
import json, sys
from xlstmd.engine.model_source import ModelSource
from xlstmd.server.serve import run
from xlstmd.server.settings import Settings

port, model, settings = sys.argv[1:]
source = ModelSource(loader=f"tests.faulty_models:{model}", arguments={"name": "small"})
run([source], Settings(port=int(port), **json.loads(settings)))
"""


@pytest.fixture
def daemon():
    """Gives a function that starts a daemon process; ends all at the end."""
    processes = []

    def start(lanes, model="FaultyModel", **settings):
        port = free_port()
        written = json.dumps({"lanes": lanes, **settings})
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(port), model, written],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_ready(url):
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("not ready")


def post_later(url, value):
    """Sends a request from a thread; gives the thread and where its answer will be."""
    answers = []

    def ask():
        try:
            body = {"series": [[value]], "horizon": 1}
            answers.append(httpx.post(url + FORECAST, json=body, timeout=30.0))
        except httpx.TransportError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.4)
    return thread, answers


@pytest.mark.parametrize("lanes", LANES)
def test_sigterm_drains(daemon, lanes):
    process, url = daemon(lanes)
    wait_ready(url)
    thread, answers = post_later(url, NAP)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    alive = httpx.get(f"{url}/livez")
    refusals = [
        httpx.get(f"{url}/readyz"),
        httpx.post(url + FORECAST, json={"series": [[1]], "horizon": 1}),
    ]
    thread.join()
    assert alive.status_code == 200
    for refusal in refusals:
        assert (refusal.status_code, refusal.json()["code"]) == (503, "draining")
        assert int(refusal.headers["retry-after"]) >= 1
    assert answers[0].status_code == 200
    assert process.wait(10) == 0
    lines = [json.loads(line) for line in process.stderr]
    assert [line["message"] for line in lines if line["logger"] == "xlstmd.server.serve"] == [
        "listening", "ready", "draining", "stopped",
    ]  # fmt: skip


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_at_once(daemon, number, lanes):
    process, url = daemon(lanes)
    wait_ready(url)
    thread, _ = post_later(url, HANG)
    process.send_signal(number)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(number)
    process.wait(5)
    thread.join()
    lines = process.stderr.read().splitlines()
    assert any("ended at once" in line for line in lines)
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("lanes", LANES)
def test_model_that_cannot_start_ends_the_daemon(daemon, lanes):
    process, _ = daemon(lanes, "BrokenModel")
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert "broken model" in errors


@pytest.fixture
def command(tmp_path):
    """Gives a function that runs `xlstmd serve` on one state folder; ends all at the end."""
    processes = []

    def start():
        port = free_port()
        words = ["serve", "--port", str(port), "--state-dir", str(tmp_path / "state")]
        process = subprocess.Popen(
            [sys.executable, "-m", "xlstmd", *words],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not shipped(), reason="needs a shipped model")
def test_streams_survive_kill_and_stop_and_two_daemons_never_share_them(command):
    first, url = command()
    wait_ready(url)
    steps = [
        {"session": "pump-7", "seq": 1, "append": [1.0, 2.0], "durable": "every_step"},
        {"session": "pump-7", "seq": 2, "append": [3.0], "horizon": 2},
        {"session": "pump-7", "seq": 3, "append": [4.0], "horizon": 2},
    ]
    answers = [httpx.post(url + APPEND, json=step).json() for step in steps[:2]]
    assert [answer["durable_seq"] for answer in answers] == [1, 2]

    second, _ = command()
    _, errors = second.communicate(timeout=20)
    assert second.returncode == 4
    assert f"in use by process {first.pid}" in errors

    first.kill()
    first.wait()
    third, url = command()
    wait_ready(url)
    again = httpx.post(url + APPEND, json=steps[1]).json()
    for name in ("seq", "observed", "forecast"):
        assert again[name] == answers[1][name]
    assert httpx.post(url + APPEND, json=steps[2]).json()["observed"] == 4
    third.send_signal(signal.SIGTERM)
    assert third.wait(20) == 0

    _, url = command()
    wait_ready(url)
    shown = httpx.get(f"{url}/api/v1/xlstm/sessions/forecast/pump-7").json()
    assert (shown["seq"], shown["durable_seq"], shown["tier"]) == (3, 3, "stored")


def test_taken_port_is_a_configuration_error():
    with open_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="port: expected a free port"):
            open_socket("127.0.0.1", port)


def test_unknown_host_is_a_configuration_error():
    with pytest.raises(ConfigError, match="host"):
        open_socket("no-such-host.invalid", 0)


def test_url_names_the_port():
    with open_socket("127.0.0.1", 0) as listening:
        assert url_of(listening) == f"http://127.0.0.1:{listening.getsockname()[1]}/"
    if socket.has_ipv6:
        with open_socket("::1", 0) as listening:
            assert url_of(listening).startswith("http://[::1]:")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_public_bind_is_refused(host):
    with pytest.raises(ConfigError, match="authentication"):
        Settings(host=host)


def test_settings_come_from_file_variables_and_flags(tmp_path):
    file = tmp_path / "xlstmd.toml"
    file.write_text('port = 1\nmax_series = 2\nallowed_hosts = ["forecast.example"]\n')
    environment = {"XLSTMD_MAX_SERIES": "3", "XLSTMD_MAX_HORIZON": "", "XLSTMD_DATA": "x"}
    settings = Settings.from_sources(
        file=file, environment=environment, flags={"port": 4, "host": None}
    )
    assert (settings.port, settings.max_series, settings.max_horizon) == (4, 3, 10_000)
    assert settings.allowed_hosts == ("forecast.example",)
    assert settings.engine_settings().max_batch_rows == settings.max_batch_rows


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_serie": 1}, "did you mean max_series"),
        ({"max_series": "many"}, "max_series: expected a whole number"),
        ({"max_series": 0}, "max_series: expected more than 0"),
        ({"log_level": "loud"}, "log_level: expected one of"),
        ({"precision": "float8"}, "precision: expected one of"),
        ({"runtime": "tpu"}, "runtime: expected one of native, torch"),
        ({"port": 70_000}, "port: expected 0 to 65535"),
    ],
)
def test_bad_settings_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        Settings.from_sources(flags=values)


def record(**extra):
    line = logging.LogRecord("xlstmd.x", logging.INFO, __file__, 1, "request", None, None)
    vars(line).update(extra)
    return line


def test_json_lines_carry_extras():
    line = json.loads(JsonFormatter().format(record(status=200, path=Path("/x"))))
    assert (line["message"], line["level"], line["status"], line["path"]) == (
        "request", "info", 200, "/x",
    )  # fmt: skip
    assert line["time"].endswith("Z")


def test_text_lines_carry_extras():
    assert TextFormatter().format(record(status=200)).endswith("info    request  status=200")


def test_logs_follow_the_stream():
    own = logging.getLogger("xlstmd")
    before = own.handlers, own.level, own.propagate
    stream = io.StringIO()
    try:
        configure_logs("warning", stream)
        logging.getLogger("xlstmd.engine").warning("lane down")
        logging.getLogger("xlstmd.engine").info("quiet")
    finally:
        own.handlers, own.level, own.propagate = before
        logging.getLogger("uvicorn").handlers = []
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["lane down"]


@pytest.fixture
def manager(tmp_path):
    """Gives a socket to which daemons tell how they fare."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20.0)
        yield listening


def told(listening, seconds):
    """Gives what was told within some seconds."""
    until, messages = time.monotonic() + seconds, []
    while (left := until - time.monotonic()) > 0:
        listening.settimeout(left)
        try:
            messages.append(listening.recv(4096).decode())
        except TimeoutError:
            break
    return messages


@pytest.mark.parametrize("lanes", LANES)
def test_systemd_is_told_and_gets_signs_until_a_model_hangs_for_good(
    daemon, manager, monkeypatch, lanes
):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    process, url = daemon(lanes, lane_timeout_s=1.0)
    first = manager.recv(4096).decode().split("\n")
    assert first == ["READY=1", "STATUS=serving small@1"]
    assert set(told(manager, 0.5)) == {"WATCHDOG=1"}
    thread, answers = post_later(url, HANG)
    thread.join()
    assert answers[0].status_code == 503
    assert answers[0].json()["code"] == "lane_down"
    told(manager, 0.5)
    # A process is replaced; a thread cannot be, and systemd is to restart the daemon.
    assert bool(told(manager, 1.0)) == (lanes == "process")
    if lanes == "process":
        wait_ready(url)
        process.send_signal(signal.SIGTERM)
        assert "STOPPING=1" in told(manager, 3.0)


def test_without_a_service_manager_nothing_is_told():
    silent = ServiceManager({"WATCHDOG_USEC": "1000"})
    silent.tell("READY=1")
    assert silent.interval_s is None
    for variables in ({"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}):
        environment = {"NOTIFY_SOCKET": "@none", "WATCHDOG_USEC": "1000", **variables}
        assert ServiceManager(environment).interval_s is None
    ServiceManager({"NOTIFY_SOCKET": "@none"}).tell("READY=1")
