"""F2 under load: lanes that die again and again, amid everything that is done with sessions."""

import os
import random
import signal
import threading
import time

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed
from tests.chaos.lanes import (
    Told,
    assert_no_process_left,
    check_answer,
    command_of,
    ready_again,
    replay,
)
from tests.chaos.reference import SESSIONS, Reference, post, random_append
from xlstmd.server.sessions import IMPORT, SNAPSHOT_MEDIA

LONGEST_S = 0.2
STORM_S = 12.0
CLIENTS = 6
SLOTS = 4
# Slots of a model that only echoes are tiny: some thousands of them.
ECHO_BYTES = 2**17


def started(new_daemon, *models, **settings):
    made = new_daemon(command=command_of(*models, is_alone=True, longest_s=LONGEST_S), **settings)
    made.start()
    return made


class Client(threading.Thread):
    """Does everything with sessions of its own, and goes on whenever a lane was down."""

    def __init__(self, daemon, forecaster, number):
        super().__init__(daemon=True)
        self.daemon_ = daemon
        self.rng = random.Random(number)
        self.name = f"c{number}"
        self.fed = self.begin(forecaster, self.name)
        self.copies = []
        self.failure = None
        self.refused = self.unsaved = 0
        self.done = dict.fromkeys(("step", "export", "fork", "end"), 0)
        self.stopping = threading.Event()

    def run(self):
        try:
            with self.daemon_.client() as client:
                while not self.stopping.is_set():
                    word = self.rng.choices(("step", "export", "fork", "end"), (12, 2, 2, 1))[0]
                    getattr(self, word)(client)
        except BaseException as error:
            self.failure = error

    def begin(self, forecaster, name):
        """Gives a session that is to be; every other client has durable ones."""
        return Fed(Reference(forecaster, name, durable=int(self.name[1:]) % 2 == 0))

    def patiently(self, ask, *more):
        """Asks until no lane is down; gives the answer, and whether it was asked before."""
        for again in range(1_000):
            answer = ask()
            problem = answer.json() if "json" in answer.headers["content-type"] else {}
            if problem.get("code") not in ("lane_down", "overloaded"):
                return answer, again > 0
            assert answer.status_code == 503
            assert problem["state_advanced"] is False
            assert int(answer.headers["retry-after"]) >= 1
            self.refused += 1
            time.sleep(0.05)
        raise AssertionError("no answer but 503")

    def step(self, client):
        fed = self.fed
        if fed.answered == fed.reference.seq:
            points, more = random_append(self.rng, first=fed.answered == 0)
            fed.reference.next(points, **more)
        body = fed.reference.bodies[fed.answered]
        answer, _ = self.patiently(lambda: post(client, self.daemon_, body))
        if answer.status_code in (404, 409):
            self.go_back(client, answer)
            return
        assert answer.status_code == 200, answer.text
        check_answer(fed, answer.json())
        fed.answered += 1
        # A lane that dies between a step and its snapshot leaves it unsaved; the answer says so.
        self.unsaved += fed.reference.durable and answer.json()["durable_seq"] < fed.answered
        fed.durable_seq = max(fed.durable_seq, answer.json()["durable_seq"])
        self.done["step"] += 1

    def go_back(self, client, answer):
        """Takes the word of the daemon for how far the session is, never farther than it was."""
        kept = answer.json()["durable_seq"] if answer.status_code == 409 else 0
        assert self.fed.durable_seq <= kept <= self.fed.answered
        # A worker that died later may have left more by now.
        self.fed.answered = kept
        shown, _ = self.patiently(lambda: client.get(f"{SESSIONS}/{self.fed.reference.name}"))
        if shown.status_code == 200:
            assert kept <= shown.json()["seq"] <= self.fed.reference.seq
            self.fed.answered = shown.json()["seq"]

    def export(self, client):
        """Hands the session over to itself under another name."""
        path = f"{SESSIONS}/{self.fed.reference.name}/export"
        answer, _ = self.patiently(lambda: client.post(path))
        if answer.status_code == 404:
            return
        assert answer.status_code == 200, answer.text
        name, headers = f"{self.name}-i{len(self.copies)}", {"content-type": SNAPSHOT_MEDIA}
        path = IMPORT.format(surface="forecast") + f"?session={name}"
        taken, _ = self.patiently(
            lambda: client.post(path, content=answer.content, headers=headers)
        )
        self.note_copy(name, taken)
        self.done["export"] += 1

    def fork(self, client):
        name = f"{self.name}-f{len(self.copies)}"
        path = f"{SESSIONS}/{self.fed.reference.name}/fork"
        taken, _ = self.patiently(lambda: client.post(path, json={"to": name}))
        if taken.status_code != 404:
            self.note_copy(name, taken)
            self.done["fork"] += 1

    def note_copy(self, name, taken):
        """Keeps what a copy must be: what its session was after one of its steps."""
        assert taken.status_code == 200, taken.text
        seq = taken.json()["seq"]
        assert seq <= self.fed.answered
        bodies = [{**body, "session": name} for body in self.fed.reference.bodies[:seq]]
        self.copies.append((name, bodies, taken.json()["durable_seq"]))

    def end(self, client):
        """Ends the session and begins another one."""
        path = f"{SESSIONS}/{self.fed.reference.name}"
        answer, _ = self.patiently(lambda: client.delete(path))
        assert answer.status_code in (200, 404, 410), answer.text
        shown, _ = self.patiently(lambda: client.get(path))
        assert shown.status_code == (404 if answer.status_code == 404 else 410), shown.text
        old = self.fed.reference
        self.fed = self.begin(old.forecaster, f"{self.name}-{self.rng.random()}")
        self.done["end"] += 1

    def check(self, client):
        """Holds everything that there must be to its reference."""
        self.go_back_quietly(client, self.fed)
        if self.fed.answered or self.fed.reference.seq:
            replay(client, self.daemon_, self.fed)
        for name, bodies, durable_seq in self.copies:
            shown = client.get(f"{SESSIONS}/{name}")
            if shown.status_code == 404:
                assert durable_seq == 0
                continue
            assert shown.json()["seq"] == len(bodies)
            copy = Reference(self.fed.reference.forecaster, name, bodies=bodies)
            copy.check(client, self.daemon_)

    @staticmethod
    def go_back_quietly(client, fed):
        shown = client.get(f"{SESSIONS}/{fed.reference.name}")
        left = shown.json()["seq"] if shown.status_code == 200 else 0
        assert fed.durable_seq <= left <= fed.answered
        fed.answered = left


def test_f02_storm_of_deaths(new_daemon, forecaster, tmp_path):
    told = Told(tmp_path / "told", "told", base="small")
    settings = {"session_bytes": SLOTS * forecaster.slot_bytes, "snapshot_interval_s": 0.05}
    daemon = started(new_daemon, told, **settings)
    clients = [Client(daemon, forecaster, number) for number in range(CLIENTS)]
    rng = random.Random(202)
    for client in clients:
        client.start()
    until_s, deaths = time.monotonic() + STORM_S, 0
    while time.monotonic() < until_s:
        until(lambda: daemon.probe("/readyz") == 200, 20.0)
        # Also while it is warm, and while its sessions come back.
        time.sleep(rng.choice((0.0, 0.01, 0.1, 0.4, 0.8)))
        os.kill(told.pid, signal.SIGKILL)
        deaths += 1
        until(lambda: daemon.probe("/readyz") == 503, 1.0)
    ready_again(daemon)
    for client in clients:
        client.stopping.set()
    for client in clients:
        client.join(60.0)
        if client.failure is not None:
            raise client.failure
    done = {word: sum(client.done[word] for client in clients) for word in clients[0].done}
    print(f"\nF2: {deaths} deaths amid {done}, {sum(one.refused for one in clients)} refusals")
    print(
        f"F2: {sum(one.unsaved for one in clients)} durable steps were told to be unsaved", end=""
    )
    assert deaths >= 5
    assert min(done.values()) > 0
    with daemon.client() as client:
        for one in clients:
            one.check(client)
    assert daemon.total("xlstmd_lane_restarts_total") == deaths
    assert_no_process_left(daemon, 1)
    daemon.assert_idle()
