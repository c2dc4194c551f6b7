"""The laws of sessions with a store: what survives what, and what is said about it."""

import asyncio
import shutil
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import generate_latest

from tests.engine.streams import (
    FakeStreamModel,
    MemoryStore,
    Replay,
    ask,
    assert_same,
    key,
    killed,
    new_engine,
    running,
    step,
)
from tests.engine.test_sessions import refused, run
from tests.fakes import ManualClock, settle
from tests.small_models import random_forecaster
from xlstmd.engine import session_saver
from xlstmd.engine.session_keeper import LARGE_REPLY_BYTES
from xlstmd.engine.session_payload import pack_arrays
from xlstmd.engine.snapshot import decode_snapshot, encode_snapshot
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import (
    ModelNotFound,
    SeqConflict,
    SeqReused,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
    SnapshotDamaged,
    StoreFailed,
    StoreFull,
)


@pytest.fixture(params=["fake", "real"])
def model(request):
    return FakeStreamModel() if request.param == "fake" else random_forecaster()


def on_disk(folder):
    return SqliteStore(StoreFolder(folder))


def test_more_sessions_than_slots_keep_their_bits(model, tmp_path):
    rng = np.random.default_rng(0)
    order = rng.permutation(np.repeat(np.arange(12), 5))

    async def law():
        replays = [Replay(model) for _ in range(12)]
        seqs = [0] * 12
        async with running(model, store=on_disk(tmp_path), rooms=3) as sessions:
            for number in order.tolist():
                seqs[number] += 1
                points = rng.normal(size=rng.integers(1, 20))
                task = step(f"s{number}", seqs[number], *points)
                expected = replays[number](task)
                assert_same(await sessions.append(task), expected)
                if rng.random() < 0.3:
                    other = key(f"s{rng.integers(12)}")
                    if sessions._parts.table.get(other):
                        await sessions.append(ask(other.id))
                    assert_same(await sessions.append(task), expected)
            tiers = [(await sessions.info(key(f"s{n}"))).tier for n in range(12)]
            assert sorted(tiers) == ["hot"] * 3 + ["stored"] * 9

    run(law)


def test_all_at_once_with_few_slots(model, tmp_path):
    async def feed(sessions, number):
        replay = Replay(model)
        for seq in range(1, 6):
            task = step(f"s{number}", seq, float(number), float(seq))
            assert_same(await sessions.append(task), replay(task))

    async def law():
        async with running(model, store=on_disk(tmp_path), rooms=8) as sessions:
            # One room less would be too few: requests that run keep theirs.
            lanes = asyncio.Semaphore(8)

            async def limited(number):
                async with lanes:
                    await feed(sessions, number)

            await asyncio.gather(*map(limited, range(40)))

    run(law)


def test_a_killed_engine_goes_on_where_it_is_durable(model, tmp_path):
    tasks = [step("s", seq, *np.random.default_rng(seq).normal(size=seq)) for seq in range(1, 9)]

    async def law():
        replay = Replay(model)
        expected = [replay(task) for task in tasks]
        async with killed(model, store=on_disk(tmp_path / "a")) as sessions:
            for task in tasks[:5]:
                await sessions.append(task)
            await sessions.keep()
            for task in tasks[5:7]:
                assert (await sessions.append(task)).durable_seq == 5
            # What a kill leaves: the files as they are now.
            shutil.copytree(tmp_path / "a", tmp_path / "b")
        async with running(model, store=on_disk(tmp_path / "b")) as sessions:
            info = await sessions.info(key("s"))
            assert (info.seq, info.durable_seq, info.tier) == (5, 5, "stored")
            conflict = await refused(SeqConflict, sessions.append(tasks[7]))
            assert (conflict.expected, conflict.durable_seq) == (6, 5)
            for task, answer in zip(tasks[4:], expected[4:], strict=True):
                assert_same(await sessions.append(task), answer)

    run(law)


def test_a_drain_leaves_everything_in_the_store(model, tmp_path):
    async def law():
        replay = Replay(model)
        async with running(model, store=on_disk(tmp_path)) as sessions:
            for number in range(20):
                await sessions.append(step(f"s{number}", 1, float(number)))
            first = step("s", 1, 1.0)
            assert_same(await sessions.append(first), replay(first))
        async with running(model, store=on_disk(tmp_path)) as sessions:
            for number in range(20):
                assert (await sessions.info(key(f"s{number}"))).seq == 1
            second = step("s", 2, 1.0)
            assert_same(await sessions.append(second), replay(second))

    run(law)


def test_a_durable_session_is_on_disk_before_each_answer():
    async def law():
        model, store = FakeStreamModel(), MemoryStore()
        async with running(model, store=store) as sessions:
            for seq in (1, 2, 3):
                task = step("s", seq, 1.0, durable=seq == 1, facts={"freq": "h"})
                result = await sessions.append(task)
                assert (result.durable_seq, store.seq("s")) == (seq, seq)
                assert result.facts == {"freq": "h"}
            assert store.durable_commits == 3
            await sessions.append(step("s", 1, 1.0, durable=True, reset=True))
            assert store.seq("s") == 1
        async with running(FakeStreamModel(), store=store) as sessions:
            assert (await sessions.append(step("s", 2, 1.0))).durable_seq == 2

    run(law)


def test_a_store_that_fails_and_heals():
    async def law():
        model, store = FakeStreamModel(), MemoryStore()
        async with running(model, store=store, rooms=4) as sessions:
            await sessions.append(step("plain", 1, 1.0))
            await sessions.append(step("durable", 1, 1.0, durable=True))
            await sessions.append(step("ended", 1, 1.0, durable=True))
            store.failing = True
            assert (await sessions.append(step("plain", 2, 2.0))).durable_seq == 0
            assert (await sessions.append(step("durable", 2, 2.0))).durable_seq == 1
            await refused(StoreFull, sessions.append(step("new", 1, 1.0, durable=True)))
            await refused(SessionUnknown, sessions.info(key("new")))
            reset = step("durable", 1, 9.0, reset=True, durable=True)
            await refused(StoreFull, sessions.append(reset))
            assert (await sessions.append(step("durable", 3, 2.0))).observed == 3
            await sessions.end(key("ended"))
            await refused(SessionExpired, sessions.info(key("ended")))
            await sessions.append(step("other", 1, 1.0))
            await sessions.append(step("more", 1, 1.0))
            await refused(StoreFull, sessions.append(step("too many", 1, 1.0)))
            await sessions.keep()
            assert sessions._parts.telemetry.snapshot_errors._value.get() > 0
            store.failing = False
            await sessions.keep()
            assert (store.seq("plain"), store.seq("durable"), store.seq("ended")) == (2, 3, "ended")
            assert (await sessions.info(key("plain"))).durable_seq == 2
            assert (await sessions.append(step("new", 1, 1.0, durable=True))).durable_seq == 1
            await sessions.append(reset)
            assert store.seq("durable") == 1

    run(law)


def test_a_store_that_cannot_be_read_makes_no_second_stream():
    async def law():
        store = MemoryStore()
        async with running(FakeStreamModel(), store=store) as sessions:
            await sessions.append(step("hot", 1, 1.0))
            store.unreadable = True
            await refused(StoreFailed, sessions.append(step("new", 1, 1.0)))
            assert (await sessions.append(step("hot", 2, 1.0))).seq == 2
            store.unreadable = False
            assert (await sessions.append(step("new", 1, 1.0))).seq == 1

    run(law)


@pytest.mark.parametrize("what", ["step", "end", "reset"])
def test_nothing_older_is_written_after_something_newer(monkeypatch, what):
    # Groups of one: the second is written after whatever happened meanwhile.
    monkeypatch.setattr(session_saver, "bounded_groups", lambda all: [[one] for one in all])

    async def law():
        store = MemoryStore()
        async with running(FakeStreamModel(), store=store) as sessions:
            await sessions.append(step("first", 1, 1.0))
            await sessions.append(step("s", 1, 1.0, durable=True))
            store.failing = True
            await sessions.append(step("s", 2, 1.0))
            store.failing, store.held_back = False, []
            keeping = asyncio.ensure_future(sessions.keep())
            while not store.held_back:
                await asyncio.sleep(0.001)
            newer = {
                "step": lambda: sessions.append(step("s", 3, 1.0)),
                "end": lambda: sessions.end(key("s")),
                "reset": lambda: sessions.append(step("s", 1, 9.0, reset=True, durable=True)),
            }
            doing = asyncio.ensure_future(newer[what]())
            while len(store.held_back) < 2:
                await asyncio.sleep(0.001)
            store.let_go()
            await asyncio.gather(keeping, doing)
            assert store.seq("s") == {"step": 3, "end": "ended", "reset": 1}[what]
            await sessions.keep()
            assert store.seq("s") == {"step": 3, "end": "ended", "reset": 1}[what]

    run(law)


def test_a_tombstone_that_waited_does_not_end_the_next_session():
    async def law():
        store = MemoryStore()
        async with running(FakeStreamModel(), store=store) as sessions:
            for name in ("s", "t"):
                await sessions.append(step(name, 1, 1.0, durable=True))
            snapshot = await sessions.export(key("s"))
            store.failing = True
            for name in ("s", "t"):
                await sessions.end(key(name))
            store.failing = False
            await sessions.append(step("t", 1, 2.0, reset=True, durable=True))
            await sessions.take_over(key("s"), snapshot)
            await sessions.keep()
            assert (store.seq("s"), store.seq("t")) == (1, 1)

    run(law)


def test_a_step_that_is_taken_is_answered_whatever_becomes_of_saving_it(tmp_path, monkeypatch):
    async def law():
        async with running(FakeStreamModel(), store=on_disk(tmp_path)) as sessions:
            assert (await sessions.append(step("s", 1, 1.0, durable=True))).durable_seq == 1

            async def fail(_):
                raise RuntimeError("a fault of ours")

            monkeypatch.setattr(sessions._saver, "save", fail)
            answer = await sessions.append(step("s", 2, 2.0))
            assert (answer.seq, answer.durable_seq) == (2, 1)

    run(law)


def test_after_a_kill_no_step_reaches_a_stream_that_was_reset(tmp_path):
    model = random_forecaster()

    async def law():
        async with killed(model, store=on_disk(tmp_path / "a")) as sessions:
            for seq in (1, 2):
                await sessions.append(step("s", seq, 80.0, 81.0, 79.0))
            await sessions.keep()
            answer = await sessions.append(step("s", 1, 3.0, reset=True))
            assert answer.durable_seq == 1
            await sessions.append(step("s", 2, 3.1))
            shutil.copytree(tmp_path / "a", tmp_path / "b")
        async with running(model, store=on_disk(tmp_path / "b")) as sessions:
            conflict = await refused(SeqConflict, sessions.append(step("s", 3, 3.2)))
            assert conflict.expected == 2
            assert (await sessions.append(step("s", 2, 3.1))).observed == 2

    run(law)


@pytest.mark.parametrize("reset", [False, True])
def test_a_session_that_was_ended_stays_ended_over_a_restart(tmp_path, reset):
    async def law():
        model = FakeStreamModel()
        async with running(model, store=on_disk(tmp_path), rooms=1) as sessions:
            await sessions.append(step("s", 1, 1.0))
            await sessions.append(step("other", 1, 1.0))
            await sessions.end(key("s"))
        async with running(FakeStreamModel(), store=on_disk(tmp_path)) as sessions:
            error = await refused(SessionExpired, sessions.append(step("s", 1, 1.0)))
            assert error.reason == "ended"
            if reset:
                assert (await sessions.append(step("s", 1, 1.0, reset=True))).observed == 1
                await sessions.keep()
                assert (await sessions.info(key("s"))).durable_seq == 1

    run(law)


def test_other_weights_do_not_go_on(tmp_path):
    async def law():
        async with running(FakeStreamModel(), store=on_disk(tmp_path)) as sessions:
            await sessions.append(step("s", 1, 1.0))
            await sessions.append(step("t", 1, 1.0))
        async with running(FakeStreamModel("another"), store=on_disk(tmp_path)) as sessions:
            await refused(ModelNotFound, sessions.append(step("s", 2, 1.0)))
        changed = FakeStreamModel(fingerprint="f2")
        async with running(changed, store=on_disk(tmp_path)) as sessions:
            for _ in range(2):
                error = await refused(SessionExpired, sessions.append(step("s", 2, 1.0)))
                assert error.reason == "model_changed"
            assert (await sessions.append(step("s", 1, 1.0, reset=True))).observed == 1
            await refused(SessionExpired, sessions.append(step("t", 2, 2.0)))
        async with running(FakeStreamModel(), store=on_disk(tmp_path)) as sessions:
            # Nothing is lost by a start with the wrong weights.
            assert (await sessions.append(step("t", 2, 2.0))).observed == 2
            error = await refused(SessionExpired, sessions.append(step("s", 2, 1.0)))
            assert error.reason == "model_changed"
        newer = FakeStreamModel(version="2")
        async with running(newer, store=on_disk(tmp_path)) as sessions:
            error = await refused(SessionExpired, sessions.export(key("t")))
            assert error.reason == "model_changed"

    run(law)


def test_stored_sessions_end_when_idle():
    async def law():
        clock, store = ManualClock(), MemoryStore()
        model = FakeStreamModel()
        bounds = {"session_idle_s": 100.0, "lane_timeout_s": 1e9}
        async with running(model, store=store, clock=clock, rooms=1, **bounds) as sessions:
            for name in ("a", "b", "c"):
                await sessions.append(step(name, 1, 1.0))
            store.aged_s = 101.0
            assert (await refused(SessionExpired, sessions.info(key("a")))).reason == "idle"
            clock.advance(26.0)
            await sessions.keep()
            assert (store.seq("a"), store.seq("b"), store.seq("c")) == ("idle", "idle", 1)
            # In memory, and used not long ago.
            assert (await sessions.info(key("c"))).tier == "hot"

    run(law)


def test_a_session_that_is_only_asked_does_not_seem_idle():
    async def law():
        clock, store = ManualClock(), MemoryStore()
        model = FakeStreamModel()
        async with running(model, store=store, clock=clock, lane_timeout_s=1e9) as sessions:
            await sessions.append(step("s", 1, 1.0))
            await sessions.keep()
            clock.advance(1000.0)
            await sessions.append(ask("s"))
            await sessions.keep()
            assert store.held[key("s")].idle_s == 0.0
            count = len(store.commits)
            for _ in range(5):
                clock.advance(1.0)
                await sessions.append(ask("s"))
                await sessions.keep()
            assert len(store.commits) == count

    run(law)


def test_a_large_reply_lies_in_the_store_and_comes_again(tmp_path):
    async def law():
        model = FakeStreamModel()
        async with running(model, store=on_disk(tmp_path)) as sessions:
            task = step("s", 1, *np.arange(LARGE_REPLY_BYTES / 16.0) + 0.25)
            first = await sessions.append(task)
            await sessions.append(step("small", 1, 1.0))
            await sessions.keep()
            assert (await sessions.info(key("s"))).tier == "stored"
            assert (await sessions.info(key("small"))).tier == "hot"
            assert_same(await sessions.append(task), first)
            await refused(SeqReused, sessions.append(step("s", 1, 3.0)))

    run(law)


def test_snapshots_move_between_stores_with_their_durability():
    async def law():
        here, there = MemoryStore(), MemoryStore()
        async with (
            running(FakeStreamModel(), store=here) as one,
            running(FakeStreamModel(), store=there) as other,
            running(FakeStreamModel()) as bare,
        ):
            await one.append(step("s", 1, 1.0, durable=True))
            snapshot = await one.export(key("s"))
            there.failing = True
            await refused(StoreFull, other.take_over(key("s"), snapshot))
            await refused(SessionUnknown, other.info(key("s")))
            there.failing = False
            assert (await other.take_over(key("s"), snapshot)).durable_seq == 1
            assert (await other.append(step("s", 2, 1.0))).durable_seq == 2
            await refused(SessionConflict, other.take_over(key("s"), snapshot))
            assert (await refused(ValueError, bare.take_over(key("s"), snapshot))).field

    run(law)


def test_a_session_that_cannot_be_written_keeps_no_other_from_the_store():
    class Picky(MemoryStore):
        def commit(self, changes, *, durable=False):
            if any(change.key.id == "bad" for change in changes):
                done = Future()
                done.set_exception(OverflowError("a fault of ours"))
                return done
            return super().commit(changes, durable=durable)

    async def law():
        store = Picky()
        async with running(FakeStreamModel(), store=store) as sessions:
            for name in ("a", "bad", "c"):
                await sessions.append(step(name, 1, 1.0))
            await sessions.keep()
            assert (store.seq("a"), store.seq("bad"), store.seq("c")) == (1, None, 1)

    run(law)


def test_a_snapshot_that_somebody_made_up_does_no_harm():
    async def law():
        store = MemoryStore()
        async with running(FakeStreamModel(), store=store) as sessions:
            await sessions.append(step("s", 1, 1.0))
            record = decode_snapshot(await sessions.export(key("s")))
            for change in (
                {"seq": 2**63 - 1},
                {"seq": 0},
                {"facts": {"note": "x" * 10_000}},
                {"facts": {str(number): "" for number in range(100)}},
                {"request_hash": b"x" * 1000},
                {"reply": b""},
                {"reply": pack_arrays({"observed": np.zeros(3, dtype=np.int64)})},
                {"payload": record.payload[:-1]},
                {"payload": pack_arrays({"state": np.zeros((1, 5))})},
                {"layout": "else"},
            ):
                snapshot = encode_snapshot(replace(record, **change))
                await refused(SnapshotDamaged, sessions.take_over(key("x"), snapshot))
            late = encode_snapshot(replace(record, created_ns=2**63 - 1, used_ns=2**63 - 1))
            info = await sessions.take_over(key("x"), late)
            assert max(info.created_ns, info.used_ns) < 2**62
            await sessions.append(step("x", 1, 2.0, reset=True))
            await sessions.keep()
            assert store.held[key("x")].created_ns > info.created_ns
            (arena,) = sessions._parts.arenas.values()
            assert arena.pool.spare == arena.slots - 2

    run(law)


def test_metrics_tell_what_happens(tmp_path):
    async def law():
        model, clock = FakeStreamModel(), ManualClock()
        engine = new_engine(
            model, store=on_disk(tmp_path), rooms=2, clock=clock, lane_timeout_s=1e9
        )
        await engine.start()
        sessions = engine.sessions

        def value(line):
            text = generate_latest(engine.telemetry.registry).decode()
            found = [row for row in text.splitlines() if row.startswith(f"xlstmd_{line}")]
            return float(found[0].split()[-1])

        await sessions.append(step("a", 1, 1.0))
        await sessions.append(step("b", 1, 1.0))
        clock.advance(5.0)
        assert value("snapshot_age_seconds") == 5.0
        await sessions.keep()
        assert value("snapshot_age_seconds") == 0.0
        await sessions.append(step("c", 1, 1.0))
        await sessions.append(step("a", 2, 1.0))
        assert value('sessions{model="echo",tier="hot"}') == 2
        assert value('sessions{model="all",tier="stored"}') == 2
        assert value('session_bytes{model="echo",tier="hot"}') == 2 * model.slot_bytes
        assert value('session_evictions_total{model="echo",reason="spilled"}') == 2
        assert value('session_restore_seconds_count{model="echo"}') == 1
        assert value("snapshot_errors_total") == 0
        await engine.drain(5.0)

    run(law)


def test_room_is_made_before_it_is_needed():
    async def law():
        store, model = MemoryStore(), FakeStreamModel()
        async with running(model, store=store, rooms=64) as sessions:
            for number in range(61):
                await sessions.append(step(f"s{number}", 1, float(number)))
            hot = sessions._parts.table.of(model.identity)
            while len(hot) > 56:
                await asyncio.sleep(0.01)
            # Three rooms were left of eight that are kept free: the oldest five have gone.
            assert [one.id for one in hot] == [f"s{number}" for number in range(5, 61)]
            assert store.commits == [[(f"s{number}", 1) for number in range(5)]]
            # While the disk is slow, rooms are there all the same.
            store.held_back = []
            for number in range(61, 69):
                await sessions.append(step(f"s{number}", 1, float(number)))
            store.let_go()
            for number in (0, 30, 68):
                again = step(f"s{number}", 2, 7.0)
                replay = Replay(model)
                replay(step(f"s{number}", 1, float(number)))
                assert_same(await sessions.append(again), replay(again))

    run(law)


def test_room_that_cannot_be_made_ahead_costs_nobody_a_step():
    async def law():
        store, model = MemoryStore(), FakeStreamModel()
        async with running(model, store=store, rooms=64) as sessions:
            store.failing = True
            for number in range(64):
                assert (await sessions.append(step(f"s{number}", 1, 1.0))).seq == 1
                await settle()
            with pytest.raises(StoreFull):
                await sessions.append(step("more", 1, 1.0))
            store.failing = False
            assert (await sessions.append(step("more", 1, 1.0))).seq == 1

    run(law)
