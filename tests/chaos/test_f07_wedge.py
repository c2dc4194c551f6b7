"""F7: a model that never comes back: its lane is replaced, and where it cannot be, systemd hears
nothing more."""

import os
import random
import signal
import socket
import threading
import time
from contextlib import contextmanager

import pytest

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.lanes import (
    LANE_TIMEOUT_S,
    Bystanders,
    Told,
    assert_no_process_left,
    command_of,
    forecast,
    is_gone,
    ready_again,
    replay,
)
from tests.chaos.reference import Reference, post

LOOK_S = 0.5
WATCHDOG_S = 0.9
# Three signs are given in that time.
SILENCE_S = 2.0
LONGEST_S = 1.0


@pytest.fixture
def told(tmp_path):
    return Told(tmp_path / "told", "told", base="small")


@pytest.fixture
def start(new_daemon, told, monkeypatch, tmp_path):
    """Gives a function that starts a daemon which tells a service manager how it fares."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
        monkeypatch.setenv("WATCHDOG_USEC", str(int(1e6 * WATCHDOG_S)))

        def begin(**settings):
            made = new_daemon(
                command=command_of(told, longest_s=LONGEST_S),
                lane_timeout_s=LANE_TIMEOUT_S,
                **settings,
            )
            made.start()
            return made, manager

        yield begin


def signs(manager, seconds):
    """Gives how often the manager is told within some seconds that all is well."""
    heard(manager)
    time.sleep(seconds)
    return heard(manager).count("WATCHDOG=1")


def heard(manager):
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


@contextmanager
def asking(daemon):
    """Has somebody wait for the model that hangs; gives where the answer will be, and when."""
    answers = []

    def ask():
        answer = forecast(daemon, series=[[1.0, 2.0]], horizon=1, model="told")
        answers.append((answer, time.monotonic()))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.3)
    yield answers
    thread.join()


def begun(client, daemon, forecaster):
    """Gives a session of the model that is to hang."""
    fed = Fed(Reference(forecaster, "held", durable=True))
    for _ in range(2):
        fed.reference.next([1.0, 2.0, 0.5], horizon=3, model="told")
        fed.take(post(client, daemon, fed.reference.bodies[-1]).json())
    return fed


def test_f07_a_wedged_lane_is_replaced_until_its_model_computes(start, told, forecaster):
    daemon, manager = start()
    rng = random.Random(7)
    with daemon.client() as client:
        fed = begun(client, daemon, forecaster)
        with Bystanders(daemon, forecaster, rng):
            time.sleep(0.5)
        daemon.note_baseline()
        told.forget("died")
        told.tell(call="hang")
        pid = told.pid
        with Bystanders(daemon, forecaster, rng) as calm, asking(daemon) as answers:
            wedged_at = float((told.folder / "died").read_text())
            until(lambda: daemon.probe("/readyz") == 503, LANE_TIMEOUT_S + LOOK_S)
            took = time.monotonic() - wedged_at
            assert took >= LANE_TIMEOUT_S - LOOK_S
            until(lambda: is_gone(pid), 2.0)
            # Those that follow hang in their first call; none is taken for one that is well.
            until(lambda: len(told.loads) >= 4 or daemon.probe("/readyz") == 200, 30.0)
            assert daemon.probe("/readyz") == 503
            assert daemon.probe("/livez") == 200
            assert signs(manager, SILENCE_S) >= SILENCE_S / WATCHDOG_S
            told.relieve("call")
            again = ready_again(daemon)
        ((answer, at),) = answers
        assert (answer.status_code, answer.json()["code"]) == (503, "lane_down")
        assert at - wedged_at <= LANE_TIMEOUT_S + LOOK_S
        print(
            f"\nF7: found after {took:.2f} s, {len(told.loads) - 1} workers in its place, ", end=""
        )
        print(f"ready {again:.2f} s after the model was; other lane: {calm.asking.count} forecasts")
        replay(client, daemon, fed)
        fed.reference.next([3.0], horizon=3)
        fed.take(post(client, daemon, fed.reference.bodies[-1]).json())
    assert_no_process_left(daemon, 2)
    daemon.assert_calm()


def test_f07_a_wedged_thread_is_told_by_silence(start, told):
    daemon, manager = start(lanes="thread")
    assert signs(manager, SILENCE_S) >= SILENCE_S / WATCHDOG_S
    told.tell(call="hang")
    with asking(daemon) as answers:
        until(lambda: daemon.probe("/readyz") == 503, LANE_TIMEOUT_S + LOOK_S)
        time.sleep(WATCHDOG_S)
        assert signs(manager, SILENCE_S) == 0
        assert daemon.probe("/livez") == 200
    assert answers[0][0].json()["code"] == "lane_down"


def test_f07_a_front_that_stands_still_gives_no_sign_and_goes_on_as_if_nothing_was(
    start, told, forecaster
):
    daemon, manager = start(snapshot_interval_s=60.0)
    with daemon.client() as client:
        fed = begun(client, daemon, forecaster)
        for stopped in ([daemon.pid], daemon.processes()):
            fed.reference.next([1.5, 2.5], horizon=3)
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            assert signs(manager, LANE_TIMEOUT_S + 1.0) == 0
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)
            assert signs(manager, SILENCE_S) >= SILENCE_S / WATCHDOG_S
            answer = post(client, daemon, fed.reference.bodies[-1])
            assert answer.status_code == 200, answer.text
            fed.take(answer.json())
            assert daemon.probe("/readyz") == 200
        assert daemon.total("xlstmd_lane_restarts_total") == 0
    assert len(told.loads) == 1
