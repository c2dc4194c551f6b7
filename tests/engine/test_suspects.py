"""Sessions that break the model, again and again: they go alone, and others do not pay for them."""

import asyncio

import numpy as np
import pytest

from tests.engine.streams import FakeStreamModel, Replay, assert_same, key, running, step
from tests.engine.test_process_lane import engine, task, until_up
from tests.fakes import POISON, ManualClock
from tests.faulty_models import EXIT
from xlstmd.engine.stream_work import PORTION_POINTS
from xlstmd.engine.suspects import CRASHES, FAILURES, MOST, Suspects
from xlstmd.engine.tasks import ForecastTask
from xlstmd.errors import LaneDown, ModelFailed


def run(law):
    asyncio.run(asyncio.wait_for(law(), 60.0))


async def together(model, sessions, requests):
    """Sends requests that wait for one another's batch, and gives their answers."""
    model.release.clear()
    blocker = asyncio.ensure_future(sessions.append(step("blocker", None, rate=None, horizon=1)))
    await model.until_entered()
    waiting = [asyncio.ensure_future(sessions.append(request)) for request in requests]
    await asyncio.sleep(0.02)
    model.batches.clear()
    model.release.set()
    await blocker
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_a_repeat_offender_goes_alone_until_a_step_goes_well():
    async def law():
        model = FakeStreamModel()
        async with running(model) as sessions:
            for name in ("blocker", "bad", "g0", "g1", "g2"):
                await sessions.append(step(name, 1, 1.0))
            for turn in range(FAILURES + 1):
                bad = step("bad", 2, POISON)
                goods = [step(f"g{number}", 2 + turn, 2.0) for number in range(3)]
                model.entered.clear()
                failed, *fine = await together(model, sessions, [bad, *goods])
                assert isinstance(failed, ModelFailed)
                assert [one.seq for one in fine] == [2 + turn] * 3
                if turn < FAILURES:
                    # The batch broke and was halved.
                    assert len(model.batches) > 2
            assert sorted(map(len, model.batches)) == [1, 3]
            assert (await sessions.append(step("bad", 2, 2.0))).seq == 2
            model.entered.clear()
            requests = [step("bad", 3, 1.0), step("g0", 6, 1.0)]
            await together(model, sessions, requests)
            assert list(map(len, model.batches)) == [2]

    run(law)


def test_a_long_step_of_a_suspect_takes_turns_with_the_others():
    async def law():
        model = FakeStreamModel()
        async with running(model) as sessions:
            await sessions.append(step("blocker", 1, 1.0))
            for _ in range(FAILURES):
                with pytest.raises(ModelFailed):
                    await sessions.append(step("bad", 1, POISON))
            model.entered.clear()
            long = [0.5] * (2 * PORTION_POINTS + 1)
            requests = [step("bad", 1, *long), step("long", 1, *long), step("short", 1, 1.0)]
            answers = await together(model, sessions, requests)
            for request, answer in zip(requests, answers, strict=True):
                assert_same(answer, Replay(FakeStreamModel())(request))
            for batch in model.batches:
                portions = [len(values) for values in batch]
                assert len(portions) == 1 or max(portions) <= PORTION_POINTS

    run(law)


def test_whoever_ends_the_worker_alone_is_refused_and_the_others_are_not():
    async def law():
        async with engine() as (made, _):
            sessions = made.sessions

            async def ended(*requests):
                answers = await asyncio.gather(
                    *map(sessions.append, requests), return_exceptions=True
                )
                await until_up(made)
                return answers

            assert isinstance((await ended(step("bad", 1, EXIT)))[0], LaneDown)
            bad, _ = await ended(step("bad", 1, EXIT), step("good", 1, 1.0))
            assert isinstance(bad, LaneDown)
            (bad,) = await ended(step("bad", 1, EXIT))
            assert isinstance(bad, ModelFailed)
            assert "ended it 2 times" in str(bad)
            assert (await sessions.append(step("good", 1, 1.0))).seq == 1
            restarts = made.telemetry.registry.get_sample_value(
                "xlstmd_lane_restarts_total", {"model": "echo"}
            )
            assert restarts == 2

    run(law)


def test_refusals_grow_and_end_and_old_records_are_forgotten():
    clock = ManualClock()
    suspects = Suspects(clock)
    one = key("one")
    suspects.note_crash([one, key("other")])
    assert suspects.is_alone(one)
    suspects.check(one, "append")
    lasted = []
    for _ in range(CRASHES - 1):
        suspects.note_crash([one])
    for _ in range(12):
        suspects.note_crash([one])
        since = clock.now
        with pytest.raises(ModelFailed, match="refused for"):
            suspects.check(one, "append")
        while True:
            clock.advance(1.0)
            try:
                suspects.check(one, "append")
            except ModelFailed:
                continue
            break
        lasted.append(clock.now - since)
    assert lasted[:3] == [60.0, 120.0, 240.0]
    assert lasted[-1] == 3600.0
    # One that was there so often stays alone, whatever goes well, and is forgotten in the end.
    suspects.note_success(one)
    assert suspects.is_alone(one)
    clock.advance(3601.0)
    suspects.note_success(one)
    assert not suspects.is_alone(one)
    assert not suspects
    for number in range(MOST + 10):
        suspects.note_crash([key(f"n{number}")])
    assert suspects.alone == MOST


def test_a_step_that_goes_well_clears_whoever_was_there_by_chance():
    suspects = Suspects(ManualClock())
    for _ in range(2):
        suspects.note_crash(["bad", "good"])
        suspects.note_success("good")
    assert not suspects.is_alone("good")
    assert suspects.is_alone("bad")
    suspects.note_success("bad")
    suspects.note_crash(["bad"])
    suspects.note_success("bad")
    assert suspects.is_alone("bad")


def test_series_that_end_the_worker_go_alone_and_then_are_refused():
    async def law():
        async with engine() as (made, _):

            async def ended(*values):
                tasks = [made.submit(task(value)) for value in values]
                answers = await asyncio.gather(*tasks, return_exceptions=True)
                await until_up(made)
                return answers

            assert isinstance((await ended(EXIT))[0], LaneDown)
            many = ForecastTask(
                histories=tuple(np.array([value]) for value in (1.0, EXIT, 2.0)),
                horizon=2,
                quantile_levels=(0.5,),
            )
            # The others of its own task have been computed by then.
            with pytest.raises(LaneDown):
                await made.submit(many)
            await until_up(made)
            with pytest.raises(ModelFailed, match=r"series\[1\].values: .* ended it 2 times"):
                await made.submit(many)
            (good,) = await ended(3.0)
            assert good.forecast.median[0, 0] == 3.0

    run(law)


def test_suspects_and_the_others_take_turns_whoever_has_much_to_do():
    async def law():
        model = FakeStreamModel()
        async with running(model) as sessions:
            for name in ("blocker", "g0", "g1", "long"):
                await sessions.append(step(name, 1, 1.0))
            for _ in range(FAILURES):
                with pytest.raises(ModelFailed):
                    await sessions.append(step("bad", 1, POISON))
            much = [0.5] * (5 * PORTION_POINTS)
            for requests in (
                [step("bad", 1, *much, rate=None), step("g0", 2, 1.0), step("g1", 2, 1.0)],
                [step("long", 2, *much, rate=None), step("bad", 2, POISON), step("g0", 3, 1.0)],
            ):
                model.entered.clear()
                await together(model, sessions, requests)
                brief = [
                    place
                    for place, batch in enumerate(model.batches)
                    if any(len(values) == 1 for values in batch)
                ]
                assert max(brief) < 4
                if requests[0].key.id == "bad":
                    for _ in range(FAILURES):
                        with pytest.raises(ModelFailed):
                            await sessions.append(step("bad", 2, POISON))

    run(law)
