"""Policies on the session engine: exact episodes, guards around them, and answers in time."""

import asyncio
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.engine.policies import (
    HIGH,
    HUGE_ACTION,
    LOW,
    NAN_ACTION,
    NAN_STATE,
    POISON,
    Episode,
    FakePolicy,
    draw,
    key,
    step,
)
from tests.engine.streams import FakeStreamModel, MemoryStore, killed, new_engine
from tests.engine.streams import step as append
from xlstmd.engine.policy_status import ActionStatus
from xlstmd.engine.tasks import ForecastTask
from xlstmd.errors import (
    ConfigError,
    DeadlineExceeded,
    InputError,
    ModelConflict,
    ModelNotFound,
    SeqConflict,
    SeqReused,
    SessionUnknown,
    SnapshotDamaged,
)
from xlstmd.models.policy_contract import ActionField

LATE_MS = 30.0
HELD = {"deadline_ms": LATE_MS}


def run(work):
    """Runs a coroutine to its end."""
    return asyncio.run(asyncio.wait_for(work, 60.0))


@asynccontextmanager
async def running(*models, **more):
    """Gives the sessions of a running engine, and drains it."""
    engine = new_engine(*models, **more)
    await engine.start()
    try:
        yield engine.sessions
    finally:
        for model in models:
            model.release.set()
        await engine.drain(5.0)


def same(result, other):
    """Compares two answers, but for what is durable and how long it took."""
    for name in ("statuses", "seq", "episode_step", "state_advanced", "pending", "model"):
        assert getattr(result, name) == getattr(other, name), name
    assert result.actions.tobytes() == other.actions.tobytes()


def counted(sessions):
    """Gives how many actions came about how."""
    family = sessions._parts.arenas["arm@1"].telemetry._telemetry.policy_actions
    return {
        sample.labels["status"]: sample.value
        for sample in family.collect()[0].samples
        if sample.name.endswith("_total")
    }


def test_actions_are_those_of_the_policy_and_a_retry_is_the_same():
    async def play():
        model, seen = FakePolicy(), draw(20)
        owed = Episode(model)(*seen)
        async with running(model) as sessions:
            for seq, one in enumerate(seen, start=1):
                result = await sessions.step(step("a", seq, one))
                np.testing.assert_array_equal(result.actions[0], owed[seq - 1])
                assert (result.seq, result.episode_step) == (seq, seq)
                assert result.statuses == (ActionStatus.OK,)
                assert (result.state_advanced, result.pending) == (True, False)
                same(await sessions.step(step("a", seq, one)), result)
            assert counted(sessions) == {"ok": 20.0}

    run(play())


@pytest.mark.parametrize("cut", [1, 7, 70, 139])
def test_observations_may_be_split_anywhere(cut):
    async def play():
        model, seen = FakePolicy(), draw(140)
        owed = Episode(model)(*seen)
        async with running(model) as sessions:
            first = await sessions.step(step("a", 1, *seen[:cut]))
            second = await sessions.step(step("a", cut + 1, *seen[cut:]))
            assert (first.seq, second.seq, second.episode_step) == (cut, 140, 140)
            given = np.concatenate([first.actions, second.actions])
            np.testing.assert_array_equal(given, owed)
            same(await sessions.step(step("a", cut + 1, *seen[cut:])), second)

    run(play())


def test_batches_equal_singles():
    async def play():
        model, names = FakePolicy(), "abcdefg"
        episodes = {name: Episode(model) for name in names}
        async with running(model) as sessions:
            for seq in range(1, 6):
                tasks = [step(name, seq, draw(1, ord(name) * seq)[0]) for name in names]
                results = await asyncio.gather(*map(sessions.step, tasks))
                for task, result in zip(tasks, results, strict=True):
                    owed = episodes[task.key.id](*task.observations)
                    np.testing.assert_array_equal(result.actions, owed)
        assert max(map(len, model.batches)) > 1

    run(play())


def test_numbers_must_follow_each_other():
    async def play():
        async with running(FakePolicy(), FakePolicy("leg")) as sessions:
            one, two, three = draw(3)
            with pytest.raises(SessionUnknown):
                await sessions.step(step("a", 2, one))
            await sessions.step(step("a", 1, one, two))
            with pytest.raises(SeqReused):
                await sessions.step(step("a", 1, two))
            for seq in (2, 4):
                with pytest.raises(SeqConflict) as conflict:
                    await sessions.step(step("a", seq, three))
                assert conflict.value.expected == 3
            with pytest.raises(ModelConflict):
                await sessions.step(step("a", 3, three, policy="leg"))
            with pytest.raises(InputError, match="seq"):
                await sessions.step(step("a", 0, three))
            assert (await sessions.step(step("a", 3, three))).episode_step == 3
            # Another tenant has another session of that name.
            assert (await sessions.step(step("a", 1, three, tenant="u"))).seq == 1

    run(play())


def test_reset_begins_an_episode_and_the_numbers_go_on():
    async def play():
        model, seen = FakePolicy(), draw(6)
        async with running(model) as sessions:
            await sessions.step(step("a", 1, *seen[:3]))
            result = await sessions.step(step("a", 4, seen[3], reset=True))
            assert (result.seq, result.episode_step) == (4, 1)
            np.testing.assert_array_equal(result.actions, Episode(model)(seen[3]))
            await sessions.end(key())
            result = await sessions.step(step("a", 1, seen[4], reset=True))
            assert (result.seq, result.episode_step) == (1, 1)

    run(play())


@pytest.mark.parametrize(
    ("observation", "status"),
    [
        ((HUGE_ACTION, 0.0), ActionStatus.CLIPPED),
        ((NAN_ACTION, 0.0), ActionStatus.FALLBACK_NONFINITE),
        ((NAN_STATE, 0.0), ActionStatus.FALLBACK_NONFINITE),
        ((POISON, 0.0), ActionStatus.FALLBACK_NONFINITE),
        ((1e38, 0.0), ActionStatus.FALLBACK_OOD),
        ((0.0, -10.5), ActionStatus.FALLBACK_OOD),
    ],
)
@pytest.mark.parametrize("seq", [1, 3])
def test_guards_stand_around_the_policy(observation, status, seq):
    async def play():
        model, seen = FakePolicy(), draw(4)
        async with running(model) as sessions:
            episode, last = Episode(model), np.zeros((1, 2))
            for number in range(1, seq):
                last = (await sessions.step(step("a", number, seen[number]))).actions
                episode(seen[number])
            result = await sessions.step(step("a", seq, observation))
            assert result.statuses == (status,)
            assert result.state_advanced == (status is ActionStatus.CLIPPED)
            expected = np.array([[1.0, 0.0]]) if status is ActionStatus.CLIPPED else last
            np.testing.assert_array_equal(result.actions, expected)
            same(await sessions.step(step("a", seq, observation)), result)
            # What the policy was not shown, or could not bear, is not in its memory.
            if status is ActionStatus.CLIPPED:
                episode(observation)
            result = await sessions.step(step("a", seq + 1, seen[0]))
            np.testing.assert_array_equal(result.actions, episode(seen[0]))
            assert counted(sessions)[status] == 1.0

    run(play())


def test_one_bad_row_costs_no_other_session_anything():
    async def play():
        model = FakePolicy()
        async with running(model) as sessions:
            tasks = [step(name, 1, draw(1, ord(name))[0]) for name in "abcde"]
            tasks.append(step("x", 1, (POISON, 0.0)))
            results = await asyncio.gather(*map(sessions.step, tasks))
            for task, result in zip(tasks[:-1], results[:-1], strict=True):
                np.testing.assert_array_equal(result.actions, Episode(model)(*task.observations))
            assert results[-1].statuses == (ActionStatus.FALLBACK_NONFINITE,)

    run(play())


def test_old_observations_are_not_shown():
    async def play():
        model, seen = FakePolicy(max_age_ms=100.0), draw(4)
        async with running(model) as sessions:
            now = time.time_ns()
            aged = [now, now - 10**9, now - 50_000_000, now + 10**9]
            limits = [None, None, 20.0, 20.0]
            results = [
                await sessions.step(
                    step("a", seq, seen[seq - 1], observed_ns=observed, max_age_ms=limit)
                )
                for seq, observed, limit in zip(range(1, 5), aged, limits, strict=True)
            ]
            assert [result.statuses[0].value for result in results] == [
                "ok", "fallback_stale", "fallback_stale", "ok",
            ]  # fmt: skip
            np.testing.assert_array_equal(results[1].actions, results[0].actions)
            owed = Episode(model)(seen[0], seen[3])
            np.testing.assert_array_equal(results[3].actions[0], owed[1])
            # Out of distribution and old: the first guard has it.
            both = step("a", 5, (1e9, 0.0), observed_ns=now - 10**9)
            assert (await sessions.step(both)).statuses == (ActionStatus.FALLBACK_OOD,)

    run(play())


@pytest.mark.parametrize(
    ("observations", "code"),
    [
        ([(np.nan, 0.0)], "non_finite"),
        ([(0.0, -np.inf)], "non_finite"),
        ([(0.0, 0.0), (np.nan, 0.0)], "non_finite"),
        ([(0.0,)], "bad_shape"),
        ([(0.0, 0.0, 0.0)], "bad_shape"),
    ],
)
def test_what_no_policy_can_be_shown_is_refused_and_takes_no_number(observations, code):
    async def play():
        async with running(FakePolicy()) as sessions:
            with pytest.raises(InputError) as error:
                await sessions.step(step("a", 1, *observations))
            assert error.value.code == code
            assert error.value.field.startswith("observation")
            assert (await sessions.step(step("a", 1, (0.0, 0.0)))).seq == 1

    run(play())


def test_rates_are_limited_from_the_action_that_was_given():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    force = ActionField(name="force", low=-1.0, high=1.0, max_rate=5.0)
    valve = ActionField(name="valve", low=0.0, high=2.0)

    async def play():
        clock = Clock()
        model = FakePolicy(actions=(force, valve))
        async with running(model, clock=clock) as sessions:
            results = []
            # 0.02 s is the policy's step: a longer time counts as that.
            for seq, elapsed in enumerate((0.0, 0.01, 0.02, 10.0), start=1):
                clock.now += elapsed
                results.append(await sessions.step(step("a", seq, (HUGE_ACTION, 0.0))))
            assert [one.statuses[0].value for one in results] == ["clipped"] * 4
            for seq, elapsed in enumerate((0.01, 0.02, 3.0), start=5):
                clock.now += elapsed
                last = results[-1].actions[0]
                results.append(await sessions.step(step("a", seq, (-3.0, 0.2 * seq))))
                change = abs(results[-1].actions[0] - last)[0]
                assert change <= 5.0 * min(elapsed, 0.02) + 1e-12
            assert results[-1].statuses == (ActionStatus.RATE_LIMITED,)

    run(play())


def test_a_late_step_answers_the_fallback_and_is_completed_before_the_next():
    async def play():
        model, seen = FakePolicy(), draw(4)
        owed = Episode(model)(*seen)
        async with running(model) as sessions:
            first = await sessions.step(step("a", 1, seen[0]))
            model.release.clear()
            started = time.monotonic()
            late = [await sessions.step(step("a", 2, seen[1], **HELD))]
            took = time.monotonic() - started
            assert LATE_MS / 1000.0 <= took < LATE_MS / 1000.0 + 0.05
            # One that has not had its turn when its time is over.
            late.append(await sessions.step(step("a", 3, seen[2], **HELD)))
            for seq, result in enumerate(late, start=2):
                assert result.statuses == (ActionStatus.FALLBACK_LATE,)
                assert (result.seq, result.episode_step) == (seq, seq)
                assert (result.state_advanced, result.pending) == (False, True)
                np.testing.assert_array_equal(result.actions, first.actions)
            same(await sessions.step(step("a", 3, seen[2], **HELD)), late[1])
            with pytest.raises(SeqConflict) as conflict:
                await sessions.step(step("a", 5, seen[3], **HELD))
            assert conflict.value.expected == 4
            with pytest.raises(SeqReused):
                await sessions.step(step("a", 3, seen[3], **HELD))
            model.release.set()
            # Also after it was completed, it was answered as it was answered.
            same(await sessions.step(step("a", 3, seen[2])), late[1])
            fourth = await sessions.step(step("a", 4, seen[3]))
            np.testing.assert_array_equal(fourth.actions[0], owed[3])
            assert (fourth.seq, fourth.episode_step) == (4, 4)
            assert counted(sessions) == {"ok": 2.0, "fallback_late": 2.0}

    run(play())


def test_a_late_first_step_begins_the_session():
    async def play():
        model, seen = FakePolicy(fallback="zero"), draw(2)
        async with running(model) as sessions:
            model.release.clear()
            late = await sessions.step(step("a", 1, seen[0], **HELD))
            assert (late.seq, late.pending, late.actions.tolist()) == (1, True, [[0.0, 0.0]])
            model.release.set()
            second = await sessions.step(step("a", 2, seen[1]))
            np.testing.assert_array_equal(second.actions[0], Episode(model)(*seen)[1])

    run(play())


def test_a_late_step_that_is_an_error_takes_no_number():
    async def play():
        model, seen = FakePolicy(on_deadline="error"), draw(3)
        async with running(model) as sessions:
            await sessions.step(step("a", 1, seen[0]))
            model.release.clear()
            with pytest.raises(DeadlineExceeded):
                await sessions.step(step("a", 2, seen[1], **HELD))
            late = await sessions.step(step("b", 1, seen[1], on_deadline="fallback", **HELD))
            assert late.pending
            model.release.set()
            result = await sessions.step(step("a", 2, seen[1]))
            np.testing.assert_array_equal(result.actions[0], Episode(model)(*seen[:2])[1])

    run(play())


@pytest.mark.parametrize("fallback", ["hold", "zero", "open"])
def test_fallbacks_are_those_of_the_contract(fallback):
    async def play():
        model, seen = FakePolicy(fallback=fallback, named_actions={"open": (0.5, 2.0)}), draw(1)
        async with running(model) as sessions:
            first = await sessions.step(step("a", 1, seen[0]))
            result = await sessions.step(step("a", 2, (1e9, 0.0)))
            expected = {"hold": first.actions, "zero": [[0.0, 0.0]], "open": [[0.5, 2.0]]}
            np.testing.assert_array_equal(result.actions, expected[fallback])

    run(play())


def test_a_lane_that_is_down_answers_the_fallback_and_takes_no_number():
    async def play():
        model, seen = FakePolicy(), draw(3)
        async with running(model) as sessions:
            first = await sessions.step(step("a", 1, seen[0]))
            arena = sessions._parts.arenas["arm@1"]
            lane, arena._timeout_s = arena._lane, -1.0
            assert lane.is_alive
            result = await sessions.step(step("a", 2, seen[1]))
            assert result.statuses == (ActionStatus.FALLBACK_LATE,)
            assert (result.seq, result.pending, result.state_advanced) == (1, False, False)
            np.testing.assert_array_equal(result.actions, first.actions)
            arena._timeout_s = 20.0
            assert (await sessions.step(step("a", 2, seen[1]))).seq == 2

    run(play())


def test_snapshots_forks_and_restores_go_on_from_the_same_memory():
    async def play():
        model, seen = FakePolicy(), draw(4)
        owed = Episode(model)(*seen)
        async with running(model, store=MemoryStore(), rooms=1) as sessions:
            second = await sessions.step(step("a", 1, *seen[:2]))
            snapshot = await sessions.export(key())
            await sessions.fork(key(), "b")
            await sessions.take_over(key("c"), snapshot)
            for name in "abc":
                # With one room each of them comes back from the store.
                again = await sessions.step(step(name, 3, seen[2]))
                np.testing.assert_array_equal(again.actions[0], owed[2])
                assert again.episode_step == 3
                held = await sessions.step(step(name, 4, (1e9, 0.0)))
                np.testing.assert_array_equal(held.actions, again.actions)
            assert second.episode_step == 2
            with pytest.raises(SessionUnknown):
                await sessions.take_over(key("d")._replace(surface="forecast"), snapshot)

    run(play())


def test_a_snapshot_of_another_kind_of_reply_is_refused():
    async def play():
        from dataclasses import replace

        from xlstmd.engine.session_reply import SessionReply
        from xlstmd.engine.snapshot import decode_snapshot, encode_snapshot

        async with running(FakePolicy()) as sessions:
            await sessions.step(step("a", 1, (0.0, 0.0)))
            record = decode_snapshot(await sessions.export(key()))
            other = replace(record, reply=SessionReply(observed=1, scores=None).pack())
            with pytest.raises(SnapshotDamaged):
                await sessions.take_over(key("b"), encode_snapshot(other))

    run(play())


def test_what_was_killed_goes_on_from_what_is_durable_and_replays_the_rest():
    async def play():
        store, model, seen = MemoryStore(), FakePolicy(), draw(9)
        owed = Episode(model)(*seen)
        async with killed(model, store=store) as sessions:
            await sessions.step(step("a", 1, *seen[:3]))
            await sessions.keep()
            await sessions.step(step("a", 4, seen[3]))
            model.release.clear()
            late = await sessions.step(step("a", 5, seen[4], **HELD))
            assert (late.pending, late.durable_seq) == (True, 3)
            await asyncio.sleep(0.01)
            model.release.set()
        async with running(FakePolicy(), store=store) as sessions:
            with pytest.raises(SeqConflict) as conflict:
                await sessions.step(step("a", 6, seen[5]))
            assert conflict.value.expected == 4
            replayed = await sessions.step(step("a", 4, *seen[3:]))
            np.testing.assert_array_equal(replayed.actions, owed[3:])
            assert replayed.seq == 9

    run(play())


def test_a_snapshot_never_counts_a_step_that_is_still_to_be_completed():
    async def play():
        store, model, seen = MemoryStore(), FakePolicy(), draw(3)
        async with killed(model, store=store) as sessions:
            await sessions.step(step("a", 1, seen[0]))
            model.release.clear()
            await sessions.step(step("a", 2, seen[1], **HELD))
            keeping = asyncio.create_task(sessions.keep())
            await asyncio.sleep(0.05)
            model.release.set()
            await keeping
            assert store.held[key()].seq in (1, 2)
            record = store.held[key()]
        async with running(FakePolicy(), store=store) as sessions:
            left = seen[record.seq :]
            result = await sessions.step(step("a", record.seq + 1, *left))
            np.testing.assert_array_equal(result.actions[-1], Episode(model)(*seen)[-1])

    run(play())


def test_policies_and_forecasters_do_not_take_each_others_requests():
    async def play():
        engine = new_engine(FakeStreamModel(), FakePolicy())
        await engine.start()
        try:
            with pytest.raises(ModelNotFound):
                await engine.sessions.step(step("a", 1, (0.0, 0.0), policy="echo"))
            with pytest.raises(ModelNotFound):
                await engine.sessions.append(append("s", 1, 1.0, model="arm"))
            task = ForecastTask(histories=(np.array([1.0]),), horizon=1, model="arm")
            with pytest.raises(ModelNotFound):
                await engine.submit(task)
            assert [one["model"] for one in engine.describe_policies()] == ["arm@1"]
            assert engine.status().is_ready
        finally:
            await engine.drain(5.0)

    run(play())


def test_two_models_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="different names"):
        new_engine(FakeStreamModel("arm"), FakePolicy())


def test_no_observation_whatever_gets_a_bad_action():
    rng = np.random.default_rng(7)
    marks = (np.nan, np.inf, -np.inf, 1e38, -1e308, POISON, NAN_ACTION, NAN_STATE, HUGE_ACTION)

    def odd():
        count, size = rng.integers(1, 4), rng.choice([2, 2, 2, 2, 1, 3])
        seen = rng.normal(0.0, 6.0, size=(count, size))
        for place in range(size):
            if rng.random() < 0.3:
                seen[rng.integers(count), place] = rng.choice(marks)
        return seen

    async def play():
        force = ActionField(name="force", low=-1.0, high=1.0, max_rate=5.0)
        valve = ActionField(name="valve", low=0.0, high=2.0)
        model, seqs = FakePolicy(actions=(force, valve)), dict.fromkeys("abcdef", 0)

        async def drive(name):
            for _ in range(150):
                seen, soon = odd(), rng.random() < 0.1
                more = {"deadline_ms": 0.01} if soon else {}
                try:
                    result = await sessions.step(step(name, seqs[name] + 1, *seen, **more))
                except InputError:
                    continue
                seqs[name] = result.seq
                assert np.isfinite(result.actions).all()
                assert ((result.actions >= LOW) & (result.actions <= HIGH)).all()

        async with running(model) as sessions:
            await asyncio.gather(*map(drive, seqs))
            assert set(counted(sessions)) >= {"ok", "fallback_late", "fallback_nonfinite"}

    run(play())
