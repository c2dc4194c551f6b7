"""F45: snapshots of this format are read, those of the next one refused in plain words, and what is
refused is still there for the version that wrote it."""

import sqlite3
import struct
from contextlib import closing
from hashlib import blake2b

import numpy as np
import pytest

from tests.chaos.reference import SESSIONS, Reference, assert_same, post
from tests.chaos.test_f03_commit import stored
from tests.engine.test_store_faults import overwrite
from tests.golden.sessions.make_small_golden import GOLDEN, NAME, bodies
from xlstmd.engine.snapshot import FORMAT, decode_snapshot
from xlstmd.engine.store_folder import DATABASE

HASH_BYTES = 16
TOLERANCE = 1e-5
BINARY = {"content-type": "application/octet-stream"}


def renumbered(snapshot, number):
    """Gives the snapshot as another version could have written it: whole, of another format."""
    whole = bytearray(snapshot[:-HASH_BYTES])
    struct.pack_into("<I", whole, 8, number)
    return bytes(whole) + blake2b(whole, digest_size=HASH_BYTES).digest()


def take_over(client, snapshot, name=NAME):
    """Sends a snapshot."""
    path = f"{SESSIONS}/import"
    return client.post(path, params={"session": name}, content=snapshot, headers=BINARY)


def assert_refused(answer):
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (410, "session_expired"), answer.text
    assert (problem["reason"], problem["state_advanced"]) == ("model_changed", False)


@pytest.fixture
def daemon(new_daemon):
    made = new_daemon(snapshot_interval_s=0.1)
    made.start()
    return made


def test_f45_golden_snapshot_goes_on(daemon, forecaster):
    golden = GOLDEN.read_bytes()
    reference = Reference(forecaster, NAME)
    for body in bodies():
        more = {name: body[name] for name in body if name not in ("session", "seq", "append")}
        reference.next(body["append"], **more)
    with daemon.client() as client:
        answer = take_over(client, golden)
        if decode_snapshot(golden).fingerprint != forecaster.fingerprint:
            # Of weights that are no longer shipped, or of a runtime that is not here.
            assert_refused(answer)
            return
        assert (answer.status_code, answer.json()["seq"]) == (200, reference.seq)
        body = reference.next([3.0, None, 4.5], horizon=24, anomaly_rate=0.05)
        taken = post(client, daemon, body).json()
    # It may have been made by kernels of another instruction level.
    close(taken, reference.expected[-1])
    assert taken["forecast"]["timestamps"][0] == "2026-01-13T15:00:00Z"
    daemon.assert_idle()


def close(answer, expected):
    assert (answer["seq"], answer["observed"]) == (expected["seq"], expected["observed"])
    for name in ("mean", "median"):
        pair = answer["forecast"][name], expected["forecast"][name]
        np.testing.assert_allclose(*pair, rtol=TOLERANCE, atol=TOLERANCE)
    for one, other in zip(answer["anomaly"], expected["anomaly"], strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one["surprise"] == pytest.approx(other["surprise"], rel=1e-3, abs=1e-3)


def test_f45_imports_of_the_next_format_are_refused(daemon, forecaster):
    reference = Reference(forecaster, "a")
    with daemon.client() as client:
        body = reference.next([1.0, 2.0, 3.0], horizon=4)
        assert_same(post(client, daemon, body).json(), reference.expected[-1])
        snapshot = client.post(f"{SESSIONS}/a/export").content
        for number in (FORMAT + 1, FORMAT + 2, 0, 2**32 - 1):
            refused = take_over(client, renumbered(snapshot, number), "b")
            assert_refused(refused)
            assert f"expected format {FORMAT}, got format {number}" in refused.json()["detail"]
            assert client.get(f"{SESSIONS}/b").status_code == 404
        assert take_over(client, renumbered(snapshot, FORMAT), "b").status_code == 200
        for one in (reference.fork("b"), reference):
            one.check(client, daemon)
    daemon.assert_idle()


def test_f45_upgrade_and_back_with_stored_sessions(daemon, forecaster):
    sessions = [Reference(forecaster, name, durable=True) for name in ("a", "b")]
    changed, kept = sessions
    with daemon.client() as client:
        for one in sessions:
            for value in (1.0, 2.0):
                answer = post(client, daemon, one.next([value, None, value], horizon=4))
                assert answer.json()["durable_seq"] == one.seq
    daemon.stop()
    # The next version has been here, and has written one of them.
    own = stored(daemon.folder, "a")
    overwrite(daemon.folder, "a", 0, renumbered(own, FORMAT + 1))
    daemon.start()
    with daemon.client() as client:
        for answer in (
            client.get(f"{SESSIONS}/a"),
            post(client, daemon, changed.bodies[-1]),
            post(client, daemon, {"session": "a", "seq": 3, "append": [1.0]}),
            client.post(f"{SESSIONS}/a/export"),
        ):
            assert_refused(answer)
        kept.check(client, daemon)
        daemon.assert_idle()
    daemon.stop()
    # It comes back, reads what is its own, and writes it as this one does.
    assert stored(daemon.folder, "a") == renumbered(own, FORMAT + 1)
    overwrite(daemon.folder, "a", 0, own)
    daemon.start()
    with daemon.client() as client:
        for one in sessions:
            one.check(client, daemon)
            assert_same(post(client, daemon, one.next([5.0], horizon=2)).json(), one.expected[-1])
    daemon.assert_idle()


def test_f45_database_of_the_next_version_stops_the_start(daemon, forecaster):
    reference = Reference(forecaster, "a", durable=True)
    with daemon.client() as client:
        post(client, daemon, reference.next([1.0, 2.0], horizon=4))
    daemon.stop()
    version = set_version(daemon.folder, 1)
    status, said = daemon.fail_to_start()
    assert status == 4
    assert f"expected a database of version {version}" in said
    assert f"got version {version + 1}" in said
    set_version(daemon.folder, -1)
    daemon.start()
    with daemon.client() as client:
        reference.check(client, daemon)
    daemon.assert_idle()


def set_version(folder, step):
    """Moves the version of the database; gives that of before."""
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + step}")
        database.commit()
    return version
