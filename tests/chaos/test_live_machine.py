"""Sessions of a living daemon against a list of what was accepted, over any order of requests and
kills."""

import itertools
import json

from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from websockets.sync.client import connect

from tests.chaos.daemon import until
from tests.chaos.reference import SESSIONS, Reference, assert_same, post

NAMES = st.sampled_from("abcde")
POINTS = st.none() | st.integers(-50, 50).map(lambda number: number / 4.0)
APPENDS = st.lists(POINTS, max_size=40).map(lambda points: [1.0, *points])
HORIZONS = st.sampled_from((0, 1, 33))
RATES = st.sampled_from((None, 0.05))
BINARY = {"content-type": "application/octet-stream"}
SLOTS = 3

# Nobody learns from a kill after which nothing has happened.
CHANGES = 6

# Of the daemon's own life; each run of the machine has names of its own in it.
RUNS = itertools.count()


class Known:
    """What the reference knows of a live session, beside its stream.

    Attributes:
      reference: of the stream.
      created: when it began, which tells it from others of its name.
      durable_seq: what the daemon has promised.
    """

    def __init__(self, reference, created, durable_seq):
        self.reference = reference
        self.created = created
        self.durable_seq = durable_seq


class LiveMachine(RuleBasedStateMachine):
    def __init__(self, daemon, forecaster):
        super().__init__()
        self.daemon = daemon
        self.forecaster = forecaster
        self.client = daemon.client()
        self.run = next(RUNS)
        self.live = {}
        self.streams = {}
        self.ended = set()
        self.changes = 0

    def teardown(self):
        self.client.close()
        self.daemon.assert_idle()
        assert self.daemon.total("xlstmd_sessions", tier="hot") <= SLOTS

    def id(self, name):
        return f"r{self.run}-{name}"

    def place(self, name):
        return f"{SESSIONS}/{self.id(name)}"

    def post(self, body, is_frame=False):
        """Sends a request; gives status and content, over a WebSocket or not."""
        if not is_frame:
            answer = post(self.client, self.daemon, body)
            return answer.status_code, answer.json()
        with connect(self.daemon.stream_url) as stream:
            stream.recv(10.0)
            stream.send(json.dumps(body))
            answer = json.loads(stream.recv(10.0))
            self.daemon.note_sent()
        return answer.get("status", 200), answer

    def refused(self, answer, status, code):
        assert (answer[0], answer[1]["code"]) == (status, code), answer
        assert answer[1]["state_advanced"] is False

    def expect_gone(self, name, answer):
        if name in self.ended:
            self.refused(answer, 410, "session_expired")
            assert answer[1]["reason"] == "ended"
        else:
            self.refused(answer, 404, "session_unknown")

    def begin(self, name, reference):
        """Notes a stream that is new under a name."""
        shown = self.client.get(self.place(name)).json()
        known = Known(reference, shown["created"], shown["durable_seq"])
        self.live[name] = self.streams[name, known.created] = known
        self.ended.discard(name)
        self.check(known, shown)

    def check(self, known, shown):
        self.changes += 1
        assert shown["seq"] == known.reference.seq
        assert known.durable_seq <= shown["durable_seq"] <= shown["seq"]
        known.durable_seq = shown["durable_seq"]
        if known.reference.durable:
            assert known.durable_seq == known.reference.seq

    @initialize(names=st.sets(NAMES, min_size=2), durable=st.booleans())
    def begin_some(self, names, durable):
        for name in sorted(names):
            self.reset(name, [1.0], durable and name in "ab")

    @rule(name=NAMES, points=APPENDS, horizon=HORIZONS, rate=RATES, is_frame=st.booleans())
    def step(self, name, points, horizon, rate, is_frame):
        known = self.live.get(name)
        reference = known.reference if known else Reference(self.forecaster, self.id(name))
        body = reference.next(points, horizon=horizon, anomaly_rate=rate)
        answer = self.post(body, is_frame)
        if known is None and name in self.ended:
            self.expect_gone(name, answer)
            return
        assert answer[0] == 200, answer
        assert_same(answer[1], reference.expected[-1])
        if known is None:
            self.begin(name, reference)
        else:
            self.check(known, answer[1])

    @rule(name=NAMES, points=APPENDS, durable=st.booleans())
    def reset(self, name, points, durable):
        reference = Reference(self.forecaster, self.id(name), durable=durable)
        before = self.live.get(name)
        # No reset is the request that made the stream before it, which would only be repeated.
        body = reference.next([float(next(RUNS)), *points], horizon=3, reset=True)
        status, answer = self.post(body)
        assert status == 200, answer
        assert_same(answer, reference.expected[-1])
        if before is not None and before.durable_seq:
            assert answer["durable_seq"] == 1
        self.begin(name, reference)

    @rule(name=NAMES, is_frame=st.booleans())
    def repeat(self, name, is_frame):
        if name in self.live:
            known = self.live[name]
            status, answer = self.post(known.reference.bodies[-1], is_frame)
            assert status == 200, answer
            assert_same(answer, known.reference.expected[-1])
            self.check(known, answer)

    @rule(name=NAMES, gap=st.integers(-3, 3), is_frame=st.booleans())
    def send_another_number(self, name, gap, is_frame):
        known = self.live.get(name)
        seq = (known.reference.seq if known else 1) + gap
        if seq < 1 or seq == (known.reference.seq + 1 if known else 1):
            return
        answer = self.post({"session": self.id(name), "seq": seq, "append": [77.7]}, is_frame)
        if known is None:
            self.expect_gone(name, answer)
        elif seq == known.reference.seq:
            self.refused(answer, 409, "seq_reused")
        else:
            self.refused(answer, 409, "seq_conflict")
            assert answer[1]["expected"] == known.reference.seq + 1
            assert known.durable_seq <= answer[1]["durable_seq"] <= known.reference.seq

    @rule(name=NAMES, is_late=st.booleans())
    def fail(self, name, is_late):
        known = self.live.get(name)
        body = {"session": self.id(name), "seq": known.reference.seq + 1 if known else 1}
        if is_late:
            answer = post(
                self.client, self.daemon, {**body, "append": [1.0]}, **{"x-deadline-ms": "0"}
            )
            self.refused((answer.status_code, answer.json()), 504, "deadline_exceeded")
        else:
            answer = self.post({**body, "append": [1.0, 1e301]})
            self.refused(answer, 422, "out_of_range")

    @rule(name=NAMES, horizon=st.sampled_from((1, 40)))
    def ask(self, name, horizon):
        if name not in self.live:
            body = {"session": self.id(name), "append": [], "horizon": horizon}
            self.expect_gone(name, self.post(body))
            return
        body, expected = self.live[name].reference.question(horizon)
        status, answer = self.post(body)
        assert status == 200, answer
        assert_same(answer, expected)

    @rule(name=NAMES)
    def end(self, name):
        answer = self.client.delete(self.place(name))
        if name in self.live:
            assert answer.json()["ended"] is True
            del self.live[name]
            self.ended.add(name)
        else:
            self.expect_gone(name, (answer.status_code, answer.json()))

    @rule(name=NAMES, twin=NAMES, is_fork=st.booleans())
    def copy(self, name, twin, is_fork):
        if is_fork:
            answer = self.client.post(f"{self.place(name)}/fork", json={"to": self.id(twin)})
        else:
            answer = self.client.post(f"{self.place(name)}/export")
            if answer.status_code == 200:
                answer = self.client.post(
                    f"{SESSIONS}/import",
                    params={"session": self.id(twin)},
                    content=answer.content,
                    headers=BINARY,
                )
        told = answer.status_code, answer.json()
        if name not in self.live:
            self.expect_gone(name, told)
        elif twin in self.live:
            self.refused(told, 409, "session_exists")
        else:
            assert told[0] == 200, told
            self.begin(twin, self.live[name].reference.fork(self.id(twin)))

    @rule()
    def wait_until_all_is_durable(self):
        for name, known in self.live.items():
            until(lambda name=name: self.is_durable(name), 5.0)
            known.durable_seq = known.reference.seq

    def is_durable(self, name):
        shown = self.client.get(self.place(name)).json()
        return shown["durable_seq"] == self.live[name].reference.seq

    @precondition(lambda self: self.changes >= CHANGES)
    @rule()
    def kill(self):
        self.changes = 0
        self.daemon.kill()
        self.daemon.start()
        before, ended = self.live, self.ended
        self.live, self.ended = {}, set()
        for name in "abcde":
            answer = self.client.get(self.place(name))
            shown = answer.json()
            known = before.get(name)
            if answer.status_code == 200:
                left = self.streams[name, shown["created"]]
                assert known is None or not known.durable_seq or left is known
                assert left.durable_seq <= shown["seq"] == shown["durable_seq"]
                left.reference.cut(shown["seq"])
                left.durable_seq = shown["seq"]
                self.live[name] = left
            else:
                assert known is None or not known.durable_seq
                if answer.status_code == 410:
                    self.ended.add(name)
                self.expect_gone(name, (answer.status_code, shown))
        assert ended <= self.ended


def test_live_session_machine(new_daemon, forecaster):
    daemon = new_daemon(
        session_bytes=SLOTS * forecaster.slot_bytes,
        max_batch_rows=SLOTS,
        snapshot_interval_s=0.2,
    )
    daemon.start()
    run_state_machine_as_test(
        lambda: LiveMachine(daemon, forecaster),
        settings=hypothesis_settings(
            max_examples=30,
            stateful_step_count=30,
            # What depends on the moment of a kill cannot be made smaller.
            phases=[Phase.generate],
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
