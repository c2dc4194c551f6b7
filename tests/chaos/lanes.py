"""Daemons whose models break when told, and what their lanes do, seen from outside."""

import json
import os
import threading
import time
from pathlib import Path

import httpx

from tests.chaos.daemon import until
from tests.chaos.feeders import Fed, Feeder
from tests.chaos.reference import Reference, assert_same, post
from tests.chaos.swarm import Connection
from tests.told_models import LOADED
from xlstmd.server.forecast import FORECAST_PATH

LANE_TIMEOUT_S = 2.0


class Told:
    """One model that does as it is told.

    Attributes:
      name: of the model.
      folder: of its orders.
    """

    def __init__(self, folder, name, base=""):
        self.name = name
        self.folder = Path(folder)
        self.folder.mkdir()
        self.arguments = {"folder": str(folder), "name": name, "base": base}

    @property
    def loads(self):
        """Moments and processes of all loads, old ones first."""
        try:
            lines = (self.folder / LOADED).read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(float(moment), int(pid)) for moment, pid in map(str.split, lines)]

    @property
    def pid(self):
        """Process of the youngest worker."""
        return self.loads[-1][1]

    def tell(self, **words):
        """Puts words into places."""
        for place, word in words.items():
            (self.folder / place).write_text(word)

    def relieve(self, *places):
        """Takes back what was told."""
        for place in places:
            (self.folder / place).unlink(missing_ok=True)

    def forget(self, name):
        """Empties a file of notes."""
        (self.folder / name).unlink(missing_ok=True)

    def notes(self, name):
        """Gives the lines of a file of notes."""
        try:
            return (self.folder / name).read_text().splitlines()
        except FileNotFoundError:
            return []


def command_of(*models, **plan):
    """Gives the command of a daemon with these models."""
    whole = {"models": [model.arguments for model in models], **plan}
    return ("-m", "tests.chaos.faulty_daemon", json.dumps(whole))


class TimedConnection(Connection):
    """A connection that notes when its last answer came, and counts what was sent."""

    def __init__(self, daemon):
        super().__init__(daemon.port)
        self._daemon = daemon
        self.at = 0.0

    async def post(self, body):
        answer = await super().post(body)
        self.at = time.monotonic()
        self._daemon.note_sent()
        return answer


class Bystanders:
    """Clients of the lane that nothing happens to: each request must be answered, and rightly."""

    def __init__(self, daemon, forecaster, rng, clients=2):
        self._daemon = daemon
        self.sessions = [
            Fed(Reference(forecaster, f"calm-{rng.random()}-{n}", durable=n == 0))
            for n in range(clients)
        ]
        self._feeders = [
            Feeder(daemon, [fed], rng, is_stream=number % 2 == 1)
            for number, fed in enumerate(self.sessions)
        ]
        self.asking = Asking(daemon)

    def __enter__(self):
        for thread in (*self._feeders, self.asking):
            thread.start()
        return self

    def __exit__(self, *error):
        alive = all(feeder.is_alive() for feeder in self._feeders)
        self.asking.stop()
        for feeder in self._feeders:
            feeder.stop()
        assert alive, "a client of another lane was cut off"
        assert all(fed.answered for fed in self.sessions)


class Asking(threading.Thread):
    """Asks for the same forecast again and again; the answers must be the same as well."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self._daemon = daemon
        self._stopping = threading.Event()
        self.failure = None
        self.slowest_s = 0.0
        self.count = 0

    def run(self):
        first = None
        task = {"series": [[1.0, 2.0, 4.0, 3.0] * 20], "horizon": 12}
        try:
            with self._daemon.client() as client:
                while not self._stopping.is_set():
                    began = time.monotonic()
                    answer = client.post(FORECAST_PATH, json=task)
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                    assert answer.status_code == 200, answer.text
                    given = answer.json()["forecasts"]
                    first = first or given
                    assert given == first
                    self.count += 1
        except BaseException as error:
            self.failure = error

    def stop(self):
        """Ends it, and raises what it ran into."""
        self._stopping.set()
        self.join(30.0)
        if self.failure is not None:
            raise self.failure


def assert_down(answer):
    """Holds an answer to what the requests of a lane that died are told."""
    status, headers, problem = answer
    assert (status, problem["code"]) == (503, "lane_down"), answer
    assert int(headers["retry-after"]) >= 1
    assert problem["state_advanced"] is False


def states(daemon):
    """Gives the state of each process of a daemon, as `ps` shows it."""
    found = {}
    for pid in daemon.processes():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[pid] = fields[0]
    return found


def assert_no_process_left(daemon, lanes):
    """Makes sure that there are the front and so many lanes, and nothing dead beside them."""
    until(lambda: len(daemon.processes()) == 1 + lanes, 10.0, lambda: str(states(daemon)))
    assert "Z" not in states(daemon).values()


def is_gone(pid):
    """Says whether a process has ended and was waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def ready_again(daemon, seconds=20.0):
    """Waits until a daemon is ready; gives how long that took."""
    began = time.monotonic()
    until(lambda: daemon.probe("/readyz") == 200, seconds)
    return time.monotonic() - began


def resume(client, fed):
    """Goes on at what the store has of a session: nothing more than what was answered."""
    answered = fed.answered
    fed.resume(client, time.monotonic())
    assert fed.answered <= answered, "a step that failed has advanced its stream"


def replay(client, daemon, fed):
    """Sends again what was lost, and holds the stream to its reference."""
    while fed.answered < fed.reference.seq:
        answer = post_patiently(client, daemon, fed.reference.bodies[fed.answered])
        fed.take(answer.json())
    fed.reference.check(client, daemon)


def post_patiently(client, daemon, body):
    """Sends a step until its lane takes it."""
    deadline = time.monotonic() + 30.0
    while True:
        answer = post(client, daemon, body)
        if answer.status_code == 200:
            return answer
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def forecast(daemon, timeout=60.0, **task):
    """Asks for a forecast over a connection of its own."""
    headers = {"connection": "close"}
    return httpx.post(daemon.url + FORECAST_PATH, json=task, timeout=timeout, headers=headers)


def check_answer(fed, answer):
    """Holds an answer to the reference of its session."""
    assert_same(answer, fed.reference.expected[fed.answered])
