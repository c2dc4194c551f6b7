"""The laws of sessions in memory: each request advances its stream once, or not at all."""

import asyncio

import numpy as np
import pytest

from tests.engine.streams import (
    NAN_MAKER,
    REFUSED,
    FakeStreamModel,
    Replay,
    ask,
    assert_same,
    key,
    new_engine,
    running,
    step,
)
from tests.fakes import POISON, EchoModel, ManualClock, settle
from tests.small_models import random_forecaster
from xlstmd.engine.engine import Engine
from xlstmd.engine.lane import ThreadLane
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.stream_work import PORTION_POINTS
from xlstmd.errors import (
    DeadlineExceeded,
    EngineStopped,
    InputError,
    LaneDown,
    ModelConflict,
    ModelFailed,
    ModelNotFound,
    Overloaded,
    SeqConflict,
    SeqReused,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
    SnapshotDamaged,
)


def run(law):
    asyncio.run(law())


@pytest.fixture(params=["fake", "real"])
def model(request):
    return FakeStreamModel() if request.param == "fake" else random_forecaster()


async def refused(error, awaitable):
    with pytest.raises(error) as caught:
        await awaitable
    return caught.value


def test_every_answer_is_that_of_a_stream_alone(model):
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 40, size=(5, 6))
    sizes[:, 0] += 1

    async def feed(sessions, number):
        tenant, replay = f"t{number % 2}", Replay(model)
        values = np.random.default_rng(number)
        for seq, size in enumerate(sizes[number], start=1):
            points = values.normal(size=size)
            points[1:][values.random(max(0, size - 1)) < 0.1] = np.nan
            horizon = int(values.integers(0, 40))
            rate = 0.1 if values.random() < 0.5 else None
            task = step(f"s{number}", seq, *points, tenant=tenant, horizon=horizon, rate=rate)
            assert_same(await sessions.append(task), replay(task))

    async def law():
        async with running(model) as sessions:
            await asyncio.gather(*(feed(sessions, number) for number in range(5)))

    run(law)


def test_the_same_request_again_gets_the_same_reply_and_advances_nothing(model):
    async def law():
        replay = Replay(model)
        async with running(model) as sessions:
            for seq, task in enumerate(
                [step("s", 1, 1.0, 2.0), step("s", 2, 5.0), step("s", 3, 7.0, horizon=0)], start=1
            ):
                expected = replay(task)
                for _ in range(3):
                    result = await sessions.append(task)
                    assert_same(result, expected)
                    assert result.seq == seq

    run(law)


def test_other_requests_are_told_what_is_wrong(model):
    async def law():
        async with running(model) as sessions:
            await refused(SessionUnknown, sessions.append(step("s", 2, 1.0)))
            await refused(SessionUnknown, sessions.append(ask("s")))
            await refused(SessionUnknown, sessions.info(key("s")))
            await refused(SessionUnknown, sessions.end(key("s")))
            await refused(SessionUnknown, sessions.export(key("s")))
            await sessions.append(step("s", 1, 1.0))
            last = await sessions.append(step("s", 2, 2.0))
            await refused(SeqReused, sessions.append(step("s", 2, 3.0)))
            for seq in (1, 4):
                conflict = await refused(SeqConflict, sessions.append(step("s", seq, 3.0)))
                assert (conflict.expected, conflict.durable_seq) == (3, 0)
            await refused(ModelNotFound, sessions.append(step("s", 3, 3.0, model="other")))
            assert_same(await sessions.append(step("s", 2, 2.0)), last)

    run(law)


def test_a_session_keeps_its_model():
    one, other = FakeStreamModel("one"), FakeStreamModel("other")

    async def law():
        async with running(one, other) as sessions:
            assert (await sessions.append(step("s", 1, 1.0, model="other"))).model == "other@1"
            assert (await sessions.append(step("s", 2, 1.0))).model == "other@1"
            await sessions.append(step("s", 3, 1.0, model="other@1"))
            await refused(ModelConflict, sessions.append(step("s", 4, 1.0, model="one")))
            reset = step("s", 1, 1.0, model="one", reset=True)
            await refused(ModelConflict, sessions.append(reset))
            assert (await sessions.append(step("s", 4, 1.0))).seq == 4

    run(law)


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (step("s", 1, np.inf), "append"),
        (step("s", 0, 1.0), "seq"),
        (step("s", None, 1.0), "seq"),
        (step("s", 2, 1.0, reset=True), "seq"),
        (step("s", None, reset=True), "seq"),
        (step("s", 1, 1.0, horizon=-1), "horizon"),
        (step("s", 1, 1.0, levels=(0.5, 1.0)), "quantile_levels[1]"),
        (step("s", 1, 1.0, levels=()), "quantile_levels"),
        (step("s", 1, 1.0, rate=1.0), "anomaly_rate"),
        (step("s", 1, np.nan), "append"),
        (step("s", 1, 1.0, durable=True), "durable"),
    ],
)
def test_what_cannot_be_makes_no_session(task, field):
    async def law():
        async with running(random_forecaster()) as sessions:
            assert (await refused(InputError, sessions.append(task))).field == field
            await refused(SessionUnknown, sessions.info(key("s")))

    run(law)


def test_a_model_that_cannot_be_fed_says_so():
    async def law():
        async with running(FakeStreamModel(), EchoModel("plain")) as sessions:
            error = await refused(InputError, sessions.append(step("s", 1, 1.0, model="plain")))
            assert error.field == "model"
        engine = Engine([ThreadLane(EchoModel("plain"))], EngineSettings())
        await engine.start()
        await refused(InputError, engine.sessions.append(step("s", 1, 1.0)))
        await engine.drain(1.0)

    run(law)


def test_asking_advances_nothing(model):
    async def law():
        replay = Replay(model)
        async with running(model) as sessions:
            first = await sessions.append(step("s", 1, 1.0, 2.0, facts={"freq": "h"}))
            replay(step("s", 1, 1.0, 2.0))
            assert first.facts == {"freq": "h"}
            for horizon in (0, 5, 50):
                question = ask("s", horizon=horizon)
                result = await sessions.append(question)
                assert_same(result, replay(question))
                assert (result.seq, result.facts) == (1, first.facts)
            task = step("s", 2, 3.0)
            assert_same(await sessions.append(task), replay(task))

    run(law)


def test_a_reset_begins_anew_and_is_not_repeated(model):
    async def law():
        async with running(model) as sessions:
            for seq in (1, 2, 3):
                await sessions.append(step("s", seq, float(seq)))
            reset = step("s", 1, 9.0, reset=True)
            first = await sessions.append(reset)
            assert_same(first, Replay(model)(reset))
            assert_same(await sessions.append(reset), first)
            second = await sessions.append(step("s", 2, 4.0))
            assert second.observed == 2
            assert (await sessions.append(step("s", 1, 8.0, reset=True))).observed == 1
            assert (await sessions.append(step("new", 1, 8.0, reset=True))).seq == 1

    run(law)


def test_an_ended_session_is_gone_until_it_is_reset(model):
    async def law():
        async with running(model) as sessions:
            await sessions.append(step("s", 1, 1.0))
            await sessions.end(key("s"))
            for call in (
                sessions.append(step("s", 1, 1.0)),
                sessions.append(step("s", 2, 1.0)),
                sessions.append(ask("s")),
                sessions.info(key("s")),
                sessions.end(key("s")),
                sessions.export(key("s")),
                sessions.fork(key("s"), "other"),
            ):
                assert (await refused(SessionExpired, call)).reason == "ended"
            assert (await sessions.append(step("s", 1, 1.0, reset=True))).observed == 1
            assert (await sessions.append(step("s", 2, 1.0))).observed == 2

    run(law)


def test_requests_of_one_session_go_one_after_the_other_and_share_no_batch():
    model = FakeStreamModel()

    async def law():
        replay = Replay(model)
        async with running(model) as sessions:
            tasks = [step("s", seq, float(seq)) for seq in range(1, 20)]
            others = [step(f"o{number}", 1, -float(number)) for number in range(1, 20)]
            results = await asyncio.gather(*map(sessions.append, tasks + others))
            for task, result in zip(tasks, results, strict=False):
                assert_same(result, replay(task))
        assert all(sum(row[0] > 0 for row in batch) <= 1 for batch in model.batches)
        assert max(map(len, model.batches)) > 2

    run(law)


def test_a_long_step_is_cut_and_the_others_get_in_between(model):
    rng = np.random.default_rng(0)
    long = step("long", 1, *rng.normal(size=3 * PORTION_POINTS + 5))

    async def law():
        replay = Replay(model)
        async with running(model) as sessions:
            (arena,) = sessions._parts.arenas.values()
            spare = arena.pool.spare
            order = []

            async def note(task):
                answer = await sessions.append(task)
                order.append(task.key.id)
                return answer

            answers = await asyncio.gather(note(long), *(note(step(n, 1, 1.0)) for n in "abc"))
            assert order[-1] == "long"
            assert_same(answers[0], replay(long))
            more = step("long", 2, *rng.normal(size=PORTION_POINTS + 1), rate=None)
            assert_same(await sessions.append(more), replay(more))
            await settle()
            assert arena.pool.spare == spare - 4

    run(law)


def test_a_long_step_that_is_given_up_has_advanced_nothing():
    model = FakeStreamModel()
    values = np.ones(20 * PORTION_POINTS)

    async def law():
        async with running(model) as sessions:
            (arena,) = sessions._parts.arenas.values()
            first = await sessions.append(step("s", 1, 1.0))
            spare = arena.pool.spare
            caller = asyncio.create_task(sessions.append(step("s", 2, *values)))
            while len(model.batches) < 4:
                await asyncio.sleep(0)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
            asked = await sessions.append(ask("s"))
            assert (asked.seq, asked.observed) == (1, first.observed)
            assert arena.pool.spare == spare

    run(law)


def test_an_idle_lane_starts_at_once_and_a_busy_one_lets_batches_grow():
    model = FakeStreamModel()

    async def law():
        async with running(model, max_batch_rows=4) as sessions:
            model.release.clear()
            first = asyncio.ensure_future(sessions.append(step("s0", 1, 0.0)))
            await model.until_entered()
            rest = [
                asyncio.ensure_future(sessions.append(step(f"s{n}", 1, float(n))))
                for n in range(1, 10)
            ]
            await settle()
            model.release.set()
            await asyncio.gather(first, *rest)
        assert [len(batch) for batch in model.batches] == [1, 4, 4, 1]

    run(law)


def test_tenants_take_turns_and_a_large_step_goes_alone():
    model = FakeStreamModel()

    async def law():
        async with running(model, max_batch_rows=4, max_batch_points=40) as sessions:
            model.release.clear()
            waiting = [asyncio.ensure_future(sessions.append(step("block", 1, 0.0)))]
            await model.until_entered()
            tasks = [step(f"a{number}", 1, 1.0, tenant="a") for number in range(6)]
            tasks += [
                step("b", 1, 2.0, tenant="b"),
                step("c", 1, *[3.0] * 99, tenant="c"),
                step("d", 1, 4.0, tenant="d"),
            ]
            waiting += [asyncio.ensure_future(sessions.append(task)) for task in tasks]
            await settle()
            model.release.set()
            await asyncio.gather(*waiting)
        lasts = [[row[-1] for row in batch] for batch in model.batches]
        assert lasts == [[0.0], [1.0, 2.0], [3.0], [4.0, 1.0, 1.0, 1.0], [1.0, 1.0]]

    run(law)


def test_a_row_that_fails_fails_alone_and_its_session_is_unharmed():
    model = FakeStreamModel()
    bad = {POISON: ModelFailed, REFUSED: InputError, NAN_MAKER: ModelFailed}

    async def law():
        replays = {number: Replay(model) for number in range(8)}
        async with running(model) as sessions:
            for number, replay in replays.items():
                task = step(f"s{number}", 1, float(number))
                assert_same(await sessions.append(task), replay(task))
            model.release.clear()
            block = asyncio.ensure_future(sessions.append(step("block", 1, 0.0)))
            await model.until_entered()
            points = {number: float(number) for number in replays}
            points |= dict(zip((1, 4, 6), bad, strict=True))
            tasks = {number: step(f"s{number}", 2, points[number]) for number in replays}
            waiting = [asyncio.ensure_future(sessions.append(tasks[n])) for n in replays]
            await settle()
            model.release.set()
            await block
            results = await asyncio.gather(*waiting, return_exceptions=True)
            for number, result in enumerate(results):
                if points[number] in bad:
                    assert type(result) is bad[points[number]]
                    assert result.field == "append"
                else:
                    assert_same(result, replays[number](tasks[number]))
            for number in (1, 4, 6):
                task = step(f"s{number}", 2, 3.0)
                assert_same(await sessions.append(task), replays[number](task))
            assert isinstance(results[1], ModelFailed)
            await refused(ModelFailed, sessions.append(step("new", 1, POISON)))
            await refused(SessionUnknown, sessions.info(key("new")))

    run(law)


def test_a_deadline_that_passes_has_advanced_nothing():
    model = FakeStreamModel()

    async def law():
        replay = Replay(model)
        async with running(model) as sessions:
            assert_same(await sessions.append(step("s", 1, 1.0)), replay(step("s", 1, 1.0)))
            for deadline_s in (0.0, -1.0):
                late = step("s", 2, 2.0, deadline_s=deadline_s)
                await refused(DeadlineExceeded, sessions.append(late))
            model.entered.clear()
            model.release.clear()
            computing = asyncio.ensure_future(sessions.append(step("s", 2, 2.0, deadline_s=0.1)))
            await model.until_entered()
            turn = asyncio.ensure_future(sessions.append(step("s", 2, 2.0, deadline_s=0.05)))
            queued = asyncio.ensure_future(sessions.append(step("q", 1, 2.0, deadline_s=0.05)))
            for one in (computing, turn, queued):
                await refused(DeadlineExceeded, one)
            after = asyncio.ensure_future(sessions.append(step("s", 2, 3.0)))
            await settle()
            model.release.set()
            assert_same(await after, replay(step("s", 2, 3.0)))
            await refused(SessionUnknown, sessions.info(key("q")))

    run(law)


def test_a_deadline_is_checked_by_the_engines_clock_when_the_model_is_done():
    model, clock = FakeStreamModel(), ManualClock()

    async def law():
        async with running(model, clock=clock) as sessions:
            await sessions.append(step("s", 1, 1.0))
            model.entered.clear()
            model.release.clear()
            late = asyncio.ensure_future(sessions.append(step("s", 2, 2.0, deadline_s=10.0)))
            await model.until_entered()
            clock.advance(11.0)
            model.release.set()
            await refused(DeadlineExceeded, late)
            assert (await sessions.append(step("s", 2, 2.0, deadline_s=10.0))).observed == 2

    run(law)


def test_a_caller_who_goes_away_has_advanced_nothing():
    model = FakeStreamModel()

    async def law():
        async with running(model, rooms=2) as sessions:
            await sessions.append(step("s", 1, 1.0))
            for _ in range(5):
                model.entered.clear()
                model.release.clear()
                gone = [
                    asyncio.ensure_future(sessions.append(task))
                    for task in (step("s", 2, 7.0), step("new", 1, 7.0))
                ]
                await model.until_entered()
                for one in gone:
                    one.cancel()
                await asyncio.gather(*gone, return_exceptions=True)
                model.release.set()
            assert (await sessions.append(step("s", 2, 2.0))).observed == 2
            await refused(SessionUnknown, sessions.info(key("new")))
            assert (await sessions.append(step("new", 1, 2.0))).observed == 1

    run(law)


def test_nothing_of_an_ended_session_stays_in_memory():
    model = FakeStreamModel()

    async def law():
        async with running(model, rooms=2) as sessions:
            for seq in (1, 2, 3):
                await sessions.append(step("s", seq, 1234.5))
            await sessions.end(key("s"))
            assert not model.hosts[0].arena.state.any()
            after = await sessions.append(step("next", 1, 1.0))
            assert_same(after, Replay(model)(step("next", 1, 1.0)))
            await sessions.append(step("next", 2, 1.0))
            await sessions.keep()
            assert np.count_nonzero(model.hosts[0].arena.state.any(axis=1)) == 1

    run(law)


def test_without_a_store_no_session_goes_for_another():
    model = FakeStreamModel()

    async def law():
        async with running(model, rooms=3) as sessions:
            for number in range(3):
                await sessions.append(step(f"s{number}", 1, float(number)))
            full = await refused(Overloaded, sessions.append(step("s3", 1, 1.0)))
            assert full.retry_after_s >= 1.0
            assert (await sessions.append(step("s0", 1, 5.0, reset=True))).observed == 1
            await sessions.end(key("s0"))
            result = await sessions.append(step("s3", 1, 1.0))
            assert result.durable_seq == 0
            assert (await sessions.info(key("s3"))).tier == "hot"

    run(law)


def test_the_door_is_bounded_by_requests_and_bytes():
    model = FakeStreamModel()

    async def law():
        async with running(model, max_queue_rows=3, max_queue_bytes=100_000) as sessions:
            model.release.clear()
            waiting = [asyncio.ensure_future(sessions.append(step("s0", 1, 1.0)))]
            await settle()
            large = step("s9", 1, *[1.0] * 20_000)
            await refused(Overloaded, sessions.append(large))
            waiting += [
                asyncio.ensure_future(sessions.append(step(f"s{n}", 1, 1.0))) for n in (1, 2)
            ]
            await settle()
            await refused(Overloaded, sessions.append(step("s4", 1, 1.0)))
            model.release.set()
            await asyncio.gather(*waiting)
            assert (await sessions.append(large)).observed == 20_000

    run(law)


def test_idle_sessions_end_by_the_engines_clock():
    model, clock = FakeStreamModel(), ManualClock()

    async def law():
        async with running(model, clock=clock, session_idle_s=100.0, lane_timeout_s=1e9) as engine:
            await engine.append(step("old", 1, 1.0))
            clock.advance(60.0)
            await engine.append(step("young", 1, 1.0))
            await engine.append(step("asked", 1, 1.0))
            clock.advance(50.0)
            await engine.append(ask("asked"))
            await engine.keep()
            gone = await refused(SessionExpired, engine.append(step("old", 2, 1.0)))
            assert gone.reason == "idle"
            clock.advance(60.0)
            await engine.keep()
            assert (await engine.info(key("asked"))).seq == 1
            await refused(SessionExpired, engine.info(key("young")))

    run(law)


def test_a_lane_that_hangs_fails_what_waits_for_it():
    model, clock = FakeStreamModel(), ManualClock()

    async def law():
        async with running(model, clock=clock, lane_timeout_s=5.0) as sessions:
            await sessions.append(step("s", 1, 1.0))
            model.entered.clear()
            model.release.clear()
            hangs = asyncio.ensure_future(sessions.append(step("s", 2, 2.0)))
            await model.until_entered()
            exported = asyncio.ensure_future(sessions.export(key("s")))
            other = asyncio.ensure_future(sessions.export(key("s")))
            await settle()
            clock.advance(6.0)
            sessions.check_lanes()
            await refused(LaneDown, hangs)
            await settle()
            sessions.check_lanes()
            await refused(LaneDown, exported)
            await settle()
            sessions.check_lanes()
            await refused(LaneDown, other)
            await refused(LaneDown, sessions.append(step("s", 2, 2.0)))
            model.release.set()
            await asyncio.to_thread(lambda: None)
            while (await asyncio.sleep(0.01)) or not sessions._parts.arenas["echo@1"].is_up:
                pass
            assert (await sessions.append(step("s", 2, 2.0))).observed == 2

    run(law)


def test_export_take_over_and_fork_go_on_with_the_same_bits(model):
    async def law():
        replay = Replay(model)
        async with running(model) as one, running(model) as other:
            for task in (step("s", 1, 1.0, 2.0, facts={"freq": "h"}), step("s", 2, 5.0)):
                last = await one.append(task)
                replay(task)
            snapshot = await one.export(key("s"))
            assert (await one.fork(key("s"), "twin")).seq == 2
            info = await other.take_over(key("s"), snapshot)
            assert (info.seq, info.tier, info.nbytes) == (2, "hot", model.slot_bytes)
            again = await other.append(step("s", 2, 5.0))
            assert_same(again, last)
            assert again.facts == {"freq": "h"}
            third = step("s", 3, 7.0)
            expected = replay(third)
            assert_same(await one.append(third), expected)
            assert_same(await other.append(third), expected)
            twin = await one.append(step("twin", 3, 7.0))
            assert_same(twin, expected)
            assert (await one.append(step("twin", 4, 7.0))).seq == 4
            assert (await one.info(key("s"))).seq == 3

    run(law)


def test_a_snapshot_does_not_go_where_it_does_not_belong():
    model, changed = FakeStreamModel(), FakeStreamModel(fingerprint="f2")

    async def law():
        async with running(model) as sessions, running(changed) as elsewhere:
            await sessions.append(step("s", 1, 1.0))
            snapshot = await sessions.export(key("s"))
            for call in (
                sessions.take_over(key("s"), snapshot),
                sessions.fork(key("s"), "s"),
            ):
                await refused(SessionConflict, call)
            await refused(SessionUnknown, sessions.take_over(key("s", tenant="u"), snapshot))
            await refused(SnapshotDamaged, sessions.take_over(key("x"), snapshot[:-1]))
            error = await refused(SessionExpired, elsewhere.take_over(key("s"), snapshot))
            assert error.reason == "model_changed"
            await refused(SessionUnknown, elsewhere.info(key("s")))
            assert (await sessions.take_over(key("x"), snapshot)).seq == 1

    run(law)


def test_a_drained_engine_finishes_what_it_took_and_takes_no_more():
    model = FakeStreamModel()

    async def law():
        engine = new_engine(model)
        await engine.start()
        model.release.clear()
        taken = asyncio.ensure_future(engine.sessions.append(step("s", 1, 1.0)))
        await model.until_entered()
        drain = asyncio.ensure_future(engine.drain(5.0))
        await settle()
        await refused(EngineStopped, engine.sessions.append(step("t", 1, 1.0)))
        model.release.set()
        assert (await taken).seq == 1
        await drain

    run(law)


def test_a_drain_out_of_time_fails_those_who_wait():
    model = FakeStreamModel()

    async def law():
        engine = new_engine(model)
        await engine.start()
        model.release.clear()
        waiting = [
            asyncio.ensure_future(engine.sessions.append(step("s", seq, 1.0))) for seq in (1, 2)
        ]
        await model.until_entered()
        drain = asyncio.ensure_future(engine.drain(0.05))
        for one in waiting:
            await refused(EngineStopped, one)
        model.release.set()
        await drain

    run(law)
