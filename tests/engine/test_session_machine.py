"""Sessions against a list of what was accepted, over any order of requests, faults and restarts."""

import asyncio

import numpy as np
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.engine.streams import (
    NAN_MAKER,
    REFUSED,
    FakeStreamModel,
    MemoryStore,
    Replay,
    ask,
    assert_same,
    key,
    new_engine,
    step,
)
from tests.fakes import POISON
from xlstmd.engine.session_record import SessionRecord, Tombstone
from xlstmd.errors import (
    DeadlineExceeded,
    InputError,
    ModelFailed,
    SeqConflict,
    SeqReused,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
    StoreFull,
)

NAMES = st.sampled_from("abcde")
VALUES = st.lists(st.integers(0, 50).map(float), min_size=1, max_size=3)
ROOMS = 3


class Known:
    """What the reference knows of a live session: every request that its stream took."""

    def __init__(self, tasks, is_durable):
        self.tasks = tasks
        self.is_durable = is_durable

    @property
    def seq(self):
        return len(self.tasks)

    def answer(self, question=None):
        """Gives the last answer, or that to a question, by feeding a stream of its own."""
        replay = Replay(MODEL)
        answers = [replay(task) for task in self.tasks]
        return answers[-1] if question is None else replay(question)


MODEL = FakeStreamModel()


class SessionMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = MemoryStore()
        self.streams = {}
        self.live = {}
        self.ended = set()
        self.marker = 100.0
        self.start()

    def start(self):
        self.engine = new_engine(FakeStreamModel(), store=self.store, rooms=ROOMS)
        self.sessions = self.engine.sessions
        self.runner.run(self.engine.start())

    def teardown(self):
        self.store.failing = False
        self.runner.run(self.engine.drain(5.0))
        self.runner.close()

    def run(self, call):
        """Gives the result of a call, or the error that it raised."""

        async def caught():
            try:
                return await call
            except Exception as error:
                return error

        return self.runner.run(caught())

    def is_refused_for_room(self, result):
        """Says whether a session found no slot, which only a failing store may bring about."""
        is_refused = type(result) is StoreFull
        assert not is_refused or self.store.failing
        return is_refused

    def expect_gone(self, name, result):
        assert type(result) is (SessionExpired if name in self.ended else SessionUnknown)

    def accept(self, name, known, result):
        """Notes an accepted request, and checks its answer against the reference."""
        self.live[name] = known
        self.ended.discard(name)
        assert result.seq == known.seq
        assert_same(result, known.answer())
        self.note_stream(name, known)
        self.check_durable(name, result.durable_seq)
        if known.is_durable and not self.store.failing:
            assert result.durable_seq == known.seq

    def note_stream(self, name, known):
        info = self.run(self.sessions.info(key(name)))
        self.streams[name, info.created_ns] = known
        assert info.seq == known.seq

    def check_durable(self, name, durable_seq):
        """Holds the engine to its word."""
        if durable_seq:
            held = self.store.held[key(name)]
            assert self.streams[name, held.created_ns] is self.live[name]
            assert held.seq >= durable_seq

    @rule(name=NAMES, values=VALUES, durable=st.booleans(), scored=st.booleans())
    def append(self, name, values, durable, scored):
        known = self.live.get(name)
        seq = known.seq + 1 if known else 1
        more = {"durable": True} if durable and seq == 1 else {}
        task = step(name, seq, *values, rate=0.5 if scored else None, **more)
        result = self.run(self.sessions.append(task))
        if self.is_refused_for_room(result):
            return
        if known is None and name in self.ended:
            assert type(result) is SessionExpired
            return
        known = known or Known([], durable)
        known.tasks.append(task)
        self.accept(name, known, result)

    @rule(name=NAMES)
    def repeat(self, name):
        known = self.live.get(name)
        if known is None:
            return
        result = self.run(self.sessions.append(known.tasks[-1]))
        if self.is_refused_for_room(result):
            return
        assert result.seq == known.seq
        assert_same(result, known.answer())
        self.check_durable(name, result.durable_seq)

    @rule(name=NAMES, gap=st.integers(-3, 3))
    def send_another_number(self, name, gap):
        known = self.live.get(name)
        seq = (known.seq if known else 1) + gap
        if seq < 1 or seq == (known.seq + 1 if known else 1):
            return
        result = self.run(self.sessions.append(step(name, seq, 77.0)))
        if self.is_refused_for_room(result):
            return
        if known is None:
            self.expect_gone(name, result)
        elif seq == known.seq:
            assert type(result) is SeqReused
        else:
            assert type(result) is SeqConflict
            assert result.expected == known.seq + 1
            self.check_durable(name, result.durable_seq)

    @rule(name=NAMES, bad=st.sampled_from([POISON, REFUSED, NAN_MAKER, np.inf, None]))
    def fail(self, name, bad):
        known = self.live.get(name)
        values = (1.0,) if bad is None else (1.0, bad)
        more = {"deadline_s": 0.0} if bad is None else {}
        task = step(name, known.seq + 1 if known else 1, *values, **more)
        result = self.run(self.sessions.append(task))
        if self.is_refused_for_room(result) or (known is None and name in self.ended):
            return
        assert type(result) in (ModelFailed, InputError, DeadlineExceeded)

    @rule(name=NAMES, values=VALUES, durable=st.booleans())
    def reset(self, name, values, durable):
        self.marker += 1.0
        task = step(name, 1, self.marker, *values, reset=True, durable=durable)
        result = self.run(self.sessions.append(task))
        if not self.is_refused_for_room(result):
            self.accept(name, Known([task], durable), result)

    @rule(name=NAMES, horizon=st.integers(0, 4))
    def ask(self, name, horizon):
        question = ask(name, horizon=horizon)
        result = self.run(self.sessions.append(question))
        if self.is_refused_for_room(result):
            return
        if name in self.live:
            assert_same(result, self.live[name].answer(question))
        else:
            self.expect_gone(name, result)

    @rule(name=NAMES)
    def end(self, name):
        result = self.run(self.sessions.end(key(name)))
        if name in self.live:
            assert result is None
            del self.live[name]
            self.ended.add(name)
        else:
            self.expect_gone(name, result)

    @rule(name=NAMES, twin=NAMES, is_fork=st.booleans())
    def copy(self, name, twin, is_fork):
        if is_fork:
            result = self.run(self.sessions.fork(key(name), twin))
        else:
            snapshot = self.run(self.sessions.export(key(name)))
            result = snapshot
            if isinstance(snapshot, bytes):
                result = self.run(self.sessions.take_over(key(twin), snapshot))
        if name not in self.live:
            self.expect_gone(name, result)
        elif twin in self.live:
            assert type(result) is SessionConflict
        elif not self.is_refused_for_room(result):
            known = self.live[name]
            self.live[twin] = Known(list(known.tasks), known.is_durable)
            self.ended.discard(twin)
            self.note_stream(twin, self.live[twin])
            self.check_durable(twin, result.durable_seq)

    @rule()
    def keep(self):
        self.runner.run(self.sessions.keep())
        if not self.store.failing:
            for name, known in self.live.items():
                assert self.run(self.sessions.info(key(name))).durable_seq == known.seq

    @rule(failing=st.booleans())
    def fail_or_heal_the_store(self, failing):
        self.store.failing = failing

    @precondition(lambda self: not self.store.failing)
    @rule()
    def restart(self):
        self.runner.run(self.engine.drain(5.0))
        self.start()

    @rule()
    def kill(self):
        async def kill():
            self.engine._watcher.cancel()
            self.sessions._keeper._task.cancel()
            for arena in self.sessions._parts.arenas.values():
                await arena.stop()
            for batcher in self.engine._batchers.values():
                await batcher.stop(1.0)

        self.runner.run(kill())
        self.live, self.ended = {}, set()
        for where, held in self.store.held.items():
            if isinstance(held, Tombstone):
                self.ended.add(where.id)
            elif isinstance(held, SessionRecord):
                known = self.streams[where.id, held.created_ns]
                left = Known(known.tasks[: held.seq], known.is_durable)
                assert left.seq == held.seq
                self.live[where.id] = self.streams[where.id, held.created_ns] = left
        self.start()

    @invariant()
    def nobody_waits_and_no_slot_is_lost(self):
        (arena,) = self.sessions._parts.arenas.values()
        hot = len(self.sessions._parts.table.of(arena.model))
        assert hot <= ROOMS
        assert arena.waiting == 0
        assert arena.pool.spare == arena.slots - hot
        assert not self.sessions._parts.turns._lines


SessionMachine.TestCase.settings = hypothesis_settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True
)
TestSessionMachine = SessionMachine.TestCase
