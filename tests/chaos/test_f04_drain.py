"""F4: a daemon that is told to stop refuses what is new, answers what it has, and loses nothing."""

import json
import random
import signal
import threading
import time
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.reference import SESSIONS, Reference, assert_same, post
from xlstmd.server.append import APPEND_PATH
from xlstmd.server.forecast import FORECAST_PATH

LIVE = 1_000
STREAMS = 20
DRAIN_S = 20.0
AT_ONCE_S = 1.0

# One call of the model with all of them takes seconds: the settings below let it be one.
LONG_JOB = {"series": [[1.0, 2.0, 4.0] * 600] * 60, "horizon": 4_000, "quantile_levels": [0.5]}
ONE_CALL = {"max_batch_rows": 1_000, "max_batch_points": 1_000_000_000}


def ask_long(daemon, answers):
    """Asks for what takes seconds, beside the test; the answer comes into the list."""

    def ask():
        try:
            answers.append(httpx.post(daemon.url + FORECAST_PATH, json=LONG_JOB, timeout=120.0))
        except httpx.TransportError as error:
            answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: daemon.total("xlstmd_queue_depth") > 1, 10.0)
    return thread


def test_f04_drain_with_live_sessions_and_streams(new_daemon, forecaster):
    rng = random.Random(4)
    daemon = new_daemon(drain_timeout_s=DRAIN_S, **ONE_CALL)
    daemon.start()
    sessions = [Fed(Reference(forecaster, f"live-{n}")) for n in range(LIVE)]
    answers = []
    with ExitStack() as opened, daemon.client() as client:
        streams = [opened.enter_context(connect(daemon.stream_url)) for _ in range(STREAMS)]
        for stream in streams:
            stream.recv(10.0)
        for number, fed in enumerate(sessions):
            fed.take(ask(streams[number % STREAMS], fed.next_body(rng)))
        job = ask_long(daemon, answers)
        # These wait behind it when the drain begins: taken, so they are answered.
        waiting = dict(zip(streams[1:], sessions, strict=False))
        for stream, fed in waiting.items():
            stream.send(json.dumps(fed.next_body(rng)))
        until(lambda: daemon.total("xlstmd_session_requests") == len(waiting), 10.0)
        daemon.signal(signal.SIGTERM)
        told_at = time.monotonic()
        until(lambda: daemon.probe("/readyz") == 503, 5.0)
        refusals = [
            client.get("/readyz"),
            post(client, daemon, sessions[-1].next_body(rng)),
            client.get(f"{SESSIONS}/live-1"),
            client.post(FORECAST_PATH, json={"series": [[1.0]], "horizon": 1}),
        ]
        alive = client.get("/livez")
        for refusal in refusals:
            assert (refusal.status_code, refusal.json()["code"]) == (503, "draining")
            assert int(refusal.headers["retry-after"]) >= 1
        assert refusals[1].json()["state_advanced"] is False
        assert alive.status_code == 200
        for stream, fed in waiting.items():
            fed.take(json.loads(stream.recv(DRAIN_S)))
        for stream in streams:
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(DRAIN_S)
            assert closed.value.rcvd.code == 1012
        assert daemon.wait(DRAIN_S) == 0
        took = time.monotonic() - told_at
    job.join()
    assert answers[0].status_code == 200
    assert took < DRAIN_S
    print(f"\nF4: drained in {took:.2f} s")
    assert_all_there(daemon, sessions)


def ask(stream, body):
    """Sends a frame and gives its answer."""
    stream.send(json.dumps(body))
    return json.loads(stream.recv(10.0))


def assert_all_there(daemon, sessions):
    """Holds a new life to every answer of the one before."""
    daemon.start()
    with daemon.client() as client:
        for number, fed in enumerate(sessions):
            shown = client.get(f"{SESSIONS}/{fed.reference.name}").json()
            assert (shown["seq"], shown["durable_seq"]) == (fed.answered, fed.answered)
            if number % 10 == 0:
                fed.reference.cut(fed.answered)
                fed.reference.check(client, daemon)
    daemon.assert_idle()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_f04_second_signal_ends_at_once(number, new_daemon, forecaster):
    daemon = new_daemon(drain_timeout_s=DRAIN_S, snapshot_interval_s=0.1, **ONE_CALL)
    daemon.start()
    fed = Fed(Reference(forecaster, "kept", durable=True))
    with daemon.client() as client:
        fed.take(client.post(APPEND_PATH, json=fed.next_body(random.Random(4))).json())
    answers = []
    job = ask_long(daemon, answers)
    daemon.signal(number)
    until(lambda: daemon.probe("/readyz") == 503, 5.0)
    time.sleep(0.3)
    assert not daemon.has_ended()
    began = time.monotonic()
    daemon.signal(number)
    daemon.wait(10.0)
    took = time.monotonic() - began
    job.join()
    print(f"\nF4: ended {took:.2f} s after the second signal")
    assert took < AT_ONCE_S
    daemon.start()
    with daemon.client() as client:
        assert_same(post(client, daemon, fed.reference.bodies[0]).json(), fed.reference.expected[0])
        fed.reference.check(client, daemon)
