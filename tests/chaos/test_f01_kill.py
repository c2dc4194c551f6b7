"""F1: a daemon that is killed at any moment loses at most what it had not promised."""

import random
import time

from tests.chaos.feeders import Fed, Feeder
from tests.chaos.reference import Reference

ROUNDS = 100
CLIENTS = 4
SESSIONS = 3
INTERVAL_S = 0.2
RESTART_S = 5.0

# Beside the interval: writing what the last look has found, and two cores that others use too.
WRITING_S = 0.3


def test_f01_kill_mid_stream(new_daemon, forecaster):
    rng = random.Random(1)
    sessions = [
        [Fed(Reference(forecaster, f"c{k}-{n}", durable=n == 0)) for n in range(SESSIONS)]
        for k in range(CLIENTS)
    ]
    every = [fed for own in sessions for fed in own]
    daemon = new_daemon(snapshot_interval_s=INTERVAL_S)
    daemon.start()
    restarts, losses = [], []
    for _ in range(ROUNDS):
        feeders = feed(daemon, sessions, rng)
        time.sleep(rng.uniform(0.0, 3.0 * INTERVAL_S))
        killed_at = time.monotonic()
        daemon.kill()
        for feeder in feeders:
            feeder.stop()
        restarts.append(daemon.start())
        with daemon.client() as client:
            losses += [fed.resume(client, killed_at) for fed in every]
            every[rng.randrange(len(every))].repeat(client, daemon)
    print(f"\nF1: {ROUNDS} kills, {sum(fed.answered for fed in every)} steps, ", end="")
    print(f"restart at most {max(restarts):.2f} s, loss at most {max(losses):.2f} s")
    assert max(restarts) < RESTART_S
    assert max(losses) <= INTERVAL_S + WRITING_S
    feed_calmly(daemon, sessions, rng)
    with daemon.client() as client:
        for fed in every:
            fed.reference.cut(fed.answered)
            fed.reference.check(client, daemon)
    daemon.assert_calm()


def feed(daemon, sessions, rng):
    """Starts a client for each list of sessions, the first one over a WebSocket."""
    feeders = [
        Feeder(daemon, own, random.Random(rng.random()), is_stream=number == 0)
        for number, own in enumerate(sessions)
    ]
    for feeder in feeders:
        feeder.start()
    return feeders


def feed_calmly(daemon, sessions, rng):
    """Feeds twice for a while; the daemon must be after it as it was in between."""
    for _ in range(2):
        feeders = feed(daemon, sessions, rng)
        time.sleep(1.0)
        for feeder in feeders:
            feeder.stop()
        if daemon.baseline is None:
            daemon.note_baseline()
