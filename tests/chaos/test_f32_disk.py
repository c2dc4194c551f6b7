"""F32: a disk that is full, failing or read-only: sessions go on in memory, what must be durable is
refused in plain words, and all heals by itself."""

import random
import resource
import time

import pytest

from tests.chaos.daemon import until
from tests.chaos.reference import SESSIONS, Reference, assert_same, post, random_append

INTERVAL_S = 0.1
LIVE = 10
ROOMS = 40
HEAL_S = 5.0


class FullDisk:
    """A limit on the size of files, which the daemon's own have reached."""

    def __init__(self, daemon):
        self._daemon = daemon

    def fail(self):
        self._limit(1)

    def heal(self):
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, nbytes):
        for pid in self._daemon.processes():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (nbytes, resource.RLIM_INFINITY))


class ToldDisk:
    """A disk that fails as a file says; see `brittle_daemon`."""

    def __init__(self, file, fault):
        self._file = file
        self._fault = fault

    def fail(self):
        self._file.write_text(self._fault)

    def heal(self):
        self._file.write_text("")


@pytest.fixture(params=["full", "EIO", "read-only", "no connection"])
def broken(request, new_daemon, forecaster, tmp_path):
    """Gives a daemon, and what breaks and heals its disk."""
    file = tmp_path / "fault"
    file.write_text("")
    settings = {
        "snapshot_interval_s": INTERVAL_S,
        "session_bytes": ROOMS * forecaster.slot_bytes,
    }
    if request.param == "full":
        daemon = new_daemon(**settings)
        daemon.start()
        return daemon, FullDisk(daemon)
    command = ("-m", "tests.chaos.brittle_daemon", str(file))
    daemon = new_daemon(command=command, **settings)
    daemon.start()
    return daemon, ToldDisk(file, request.param)


def feed(client, daemon, sessions, rng):
    """Takes a step with each session; gives the numbers that are durable."""
    durable = []
    for one in sessions:
        points, more = random_append(rng, first=one.seq == 0)
        answer = post(client, daemon, one.next(points, **more))
        assert answer.status_code == 200, answer.text
        assert_same(answer.json(), one.expected[-1])
        durable.append(answer.json()["durable_seq"])
    return durable


def all_durable(client, sessions):
    return all(
        client.get(f"{SESSIONS}/{one.name}").json()["durable_seq"] == one.seq for one in sessions
    )


def errors(daemon):
    return daemon.total("xlstmd_snapshot_errors_total")


def test_f32_disk_that_fails_and_heals(broken, forecaster):
    daemon, disk = broken
    rng = random.Random(32)
    sessions = [Reference(forecaster, f"s{n}", durable=n < 3) for n in range(LIVE)]
    with daemon.client() as client:
        feed(client, daemon, sessions, rng)
        until(lambda: all_durable(client, sessions), HEAL_S)
        daemon.note_baseline()
        disk.fail()
        for _ in range(3):
            assert feed(client, daemon, sessions, rng) == [1] * LIVE
            time.sleep(2 * INTERVAL_S)
        before = errors(daemon)
        until(lambda: errors(daemon) > before + 2, HEAL_S)
        assert daemon.probe("/readyz") == 200
        assert daemon.total("xlstmd_snapshot_age_seconds") > INTERVAL_S
        refuse_durable(client, daemon, sessions)
        young = [Reference(forecaster, f"young-{n}") for n in range(3)]
        assert feed(client, daemon, young, rng) == [0] * len(young)
        disk.heal()
        until(lambda: all_durable(client, sessions + young), HEAL_S)
        feed(client, daemon, sessions + young, rng)
        late = Reference(forecaster, "late", durable=True)
        assert feed(client, daemon, [late], rng) == [1]
        until(lambda: all_durable(client, sessions + young), HEAL_S)
        assert daemon.total("xlstmd_snapshot_age_seconds") < HEAL_S
    daemon.assert_calm()
    daemon.kill()
    daemon.start()
    with daemon.client() as client:
        for one in (*sessions, *young, late):
            assert client.get(f"{SESSIONS}/{one.name}").json()["seq"] == one.seq
            one.check(client, daemon)
    daemon.assert_idle()


def refuse_durable(client, daemon, sessions):
    """Asks for what cannot be kept: a new durable session, a copy of one, a reset of one."""
    refused = [
        post(
            client, daemon, {"session": "new", "seq": 1, "append": [1.0], "durable": "every_step"}
        ),
        client.post(f"{SESSIONS}/{sessions[0].name}/fork", json={"to": "twin"}),
        post(client, daemon, {"session": "s0", "seq": 1, "append": [1.0], "reset": True}),
    ]
    for answer in refused:
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (507, "store_full"), answer.text
        assert problem["state_advanced"] is False
        assert str(daemon.folder) not in answer.text
    for name in ("new", "twin"):
        assert client.get(f"{SESSIONS}/{name}").status_code == 404
    sessions[0].check(client, daemon)


def test_f32_no_session_leaves_memory_for_a_full_disk(new_daemon, forecaster):
    """Where all slots are taken and none can be written, a new session is refused."""
    rng = random.Random(320)
    settings = {"snapshot_interval_s": INTERVAL_S, "session_bytes": ROOMS * forecaster.slot_bytes}
    daemon = new_daemon(**settings)
    daemon.start()
    disk = FullDisk(daemon)
    sessions = [Reference(forecaster, f"s{n}") for n in range(ROOMS)]
    with daemon.client() as client:
        feed(client, daemon, sessions, rng)
        disk.fail()
        feed(client, daemon, sessions, rng)
        for _ in range(5):
            refused = post(client, daemon, {"session": "new", "seq": 1, "append": [1.0]})
            assert (refused.status_code, refused.json()["code"]) == (507, "store_full")
            assert refused.json()["state_advanced"] is False
        feed(client, daemon, sessions, rng)
        disk.heal()
        new = Reference(forecaster, "new")
        until(lambda: post_new(client, daemon, new), HEAL_S)
        feed(client, daemon, sessions, rng)
        for one in (*sessions, new):
            one.check(client, daemon)
    daemon.assert_idle()


def post_new(client, daemon, new):
    if not new.bodies:
        new.next([1.0, 2.0], horizon=3)
    return post(client, daemon, new.bodies[0]).status_code == 200
