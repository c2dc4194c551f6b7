"""F3: a daemon that is killed inside a commit goes on from a whole generation, the last or the one
before; one whose bytes changed is never loaded."""

import random
import signal
import sqlite3
from contextlib import closing, suppress

import httpx
import pytest

from tests.chaos.daemon import until
from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append
from tests.chaos.trapped_daemon import ARMED
from tests.engine.test_store_faults import POINTS, overwrite
from tests.engine.test_store_faults import (
    test_a_commit_is_all_or_nothing_wherever_it_is_killed as store_is_killed,
)
from xlstmd.engine.store_folder import DATABASE

# So many scores lie in the store beside the state that the snapshot gets a file of its own, where
# the trapped daemon draws the line.
LARGE_POINTS = 4_000


def large_append(seed):
    rng = random.Random(seed)
    return [rng.gauss(0.0, 1.0) for _ in range(LARGE_POINTS)]


@pytest.fixture(scope="module")
def sessions(forecaster):
    """Gives a small session and a large one, of three steps each."""
    rng = random.Random(3)
    small, large = Reference(forecaster, "small"), Reference(forecaster, "large")
    for seq in range(3):
        points, more = random_append(rng, first=seq == 0)
        small.next(points, **more)
        # The last file takes the place of the first one.
        large.next(points if seq == 1 else large_append(seq), anomaly_rate=0.05)
    return small, large


def wait_durable(client, name, seq):
    until(lambda: client.get(f"{SESSIONS}/{name}").json()["durable_seq"] == seq, 10.0)


@pytest.mark.parametrize(("point", "seq"), POINTS.items())
def test_f03_kill_inside_a_commit_of_the_store(point, seq, tmp_path):
    store_is_killed(point, seq, tmp_path)


@pytest.mark.parametrize("point", POINTS)
def test_f03_kill_inside_a_commit_of_the_daemon(point, new_daemon, sessions):
    command = ("-m", "tests.chaos.trapped_daemon", point)
    trapped = new_daemon(command=command, snapshot_interval_s=0.1)
    trapped.start()
    with trapped.client() as client:
        for seq in (1, 2):
            for one in sessions:
                assert_same(
                    post(client, trapped, one.bodies[seq - 1]).json(), one.expected[seq - 1]
                )
                wait_durable(client, one.name, seq)
        (trapped.folder / ARMED).touch()
        with suppress(httpx.TransportError):
            for one in sessions:
                post(client, trapped, one.bodies[2])
    if point == "PRAGMA wal_checkpoint":
        trapped.signal(signal.SIGTERM)
    assert trapped.wait(20.0) == -signal.SIGKILL
    daemon = new_daemon()
    daemon.start()
    with daemon.client() as client:
        for one in sessions:
            seq = client.get(f"{SESSIONS}/{one.name}").json()["seq"]
            assert seq in (2, 3)
            for number in range(seq, 4):
                answer = post(client, daemon, one.bodies[number - 1])
                assert answer.status_code == 200, answer.text
                assert_same(answer.json(), one.expected[number - 1])
            one.check(client, daemon)
    daemon.assert_idle()


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_f03_changed_bytes_are_never_loaded(place, new_daemon, sessions):
    small, _ = sessions
    daemon = new_daemon(snapshot_interval_s=0.1)
    daemon.start()
    with daemon.client() as client:
        for seq in (1, 2, 3):
            post(client, daemon, small.bodies[seq - 1])
            wait_durable(client, small.name, seq)
    daemon.stop()
    overwrite(daemon.folder, small.name, 0, changed(stored(daemon.folder, small.name), place))
    daemon.start()
    with daemon.client() as client:
        assert client.get(f"{SESSIONS}/{small.name}").json()["seq"] == 2
        for number in (2, 3):
            assert_same(
                post(client, daemon, small.bodies[number - 1]).json(), small.expected[number - 1]
            )
        small.check(client, daemon)
    daemon.assert_idle()


def stored(folder, name):
    """Gives the bytes of a session's newest snapshot."""
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        return database.execute(
            "SELECT snapshot FROM snapshots JOIN sessions "
            "ON place = 2 * number + sessions.generation % 2 WHERE id = ?",
            (name,),
        ).fetchone()[0]


def changed(snapshot, place):
    """Turns one bit."""
    whole = bytearray(snapshot)
    whole[{"first": 0, "middle": len(whole) // 2, "last": -1}[place]] ^= 1
    return bytes(whole)
