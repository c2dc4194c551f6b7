"""Clients that feed sessions until their daemon is gone, each in a thread of its own."""

import json
import threading
import time

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.chaos.reference import SESSIONS, assert_same, post, random_append

GONE = (httpx.TransportError, ConnectionClosed, OSError, TimeoutError, EOFError)


class Fed:
    """A session with the place up to which its client has been answered.

    Attributes:
      reference: of the session; it may be one request ahead of what was answered.
      answered: the last number that was answered.
      durable_seq: the largest one that the daemon has promised.
      answered_at: when each number was answered for the first time.
    """

    def __init__(self, reference):
        self.reference = reference
        self.answered = 0
        self.durable_seq = 0
        self.answered_at = {}

    def next_body(self, rng):
        """Gives the request after the last one that was answered: an old one, or a new one."""
        reference = self.reference
        if self.answered == reference.seq:
            points, more = random_append(rng, first=reference.seq == 0)
            reference.next(points, **more)
        return reference.bodies[self.answered]

    def take(self, answer):
        """Checks an answer, and notes what it says."""
        assert_same(answer, self.reference.expected[self.answered])
        self.answered += 1
        self.answered_at.setdefault(self.answered, time.monotonic())
        self.durable_seq = max(self.durable_seq, answer["durable_seq"])
        assert not self.reference.durable or answer["durable_seq"] == self.answered

    def resume(self, client, killed_at):
        """Goes on at what the daemon has left; gives how many seconds of answers were lost."""
        shown = client.get(f"{SESSIONS}/{self.reference.name}")
        left = 0
        if shown.status_code == 200:
            left = shown.json()["seq"]
            assert shown.json()["durable_seq"] == left
        else:
            assert (shown.status_code, shown.json()["code"]) == (404, "session_unknown")
        # One that was not answered may have been taken all the same.
        assert self.durable_seq <= left <= self.answered + 1
        lost = [killed_at - self.answered_at[seq] for seq in range(left + 1, self.answered + 1)]
        for seq in range(left + 1, self.answered + 1):
            del self.answered_at[seq]
        self.answered, self.durable_seq = left, left
        return max(lost, default=0.0)

    def repeat(self, client, daemon):
        """Sends the last request that is left again: its answer is that of before."""
        if self.answered:
            answer = post(client, daemon, self.reference.bodies[self.answered - 1])
            assert answer.status_code == 200, answer.text
            assert_same(answer.json(), self.reference.expected[self.answered - 1])


class Feeder(threading.Thread):
    """Feeds its sessions in turn, over HTTP or a WebSocket, until told to stop or cut off.

    Attributes:
      failure: what it ran into beside the daemon's end.
    """

    def __init__(self, daemon, sessions, rng, *, is_stream=False):
        super().__init__(daemon=True)
        self.failure = None
        self._daemon = daemon
        self._sessions = sessions
        self._rng = rng
        self._stopping = threading.Event()
        self._feed = self._over_stream if is_stream else self._over_http

    def run(self):
        try:
            self._feed()
        except GONE:
            pass
        except BaseException as error:
            self.failure = error

    def stop(self):
        """Ends it, and raises what it ran into."""
        self._stopping.set()
        self.join(30.0)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure

    def _turns(self):
        while not self._stopping.is_set():
            yield from self._sessions

    def _over_http(self):
        with self._daemon.client() as client:
            for fed in self._turns():
                answer = post(client, self._daemon, fed.next_body(self._rng))
                assert answer.status_code == 200, answer.text
                fed.take(answer.json())

    def _over_stream(self):
        with connect(self._daemon.stream_url) as stream:
            stream.recv(10.0)
            for fed in self._turns():
                stream.send(json.dumps(fed.next_body(self._rng)))
                answer = json.loads(stream.recv(10.0))
                self._daemon.note_sent()
                assert "status" not in answer, answer
                fed.take(answer)
