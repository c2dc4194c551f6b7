"""The laws of the engine, with fakes for model, lane and clock."""

import asyncio
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import generate_latest

from tests.fakes import (
    NAN_MAKER,
    POISON,
    EchoModel,
    FailingModel,
    HeldLane,
    ManualClock,
    NanRowModel,
    SlowModel,
    echo_forecast,
    settle,
)
from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.lane import ThreadLane
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.tasks import ForecastTask
from xlstmd.errors import (
    ConfigError,
    DeadlineExceeded,
    EngineStopped,
    InputError,
    LaneDown,
    ModelFailed,
    ModelNotFound,
    Overloaded,
)

QUIET = {"canary_interval_s": 3600.0}


def task(*lasts, horizon=2, levels=(0.1, 0.5, 0.9), length=4, **more):
    """Gives a task whose series end with these values."""
    histories = tuple(np.append(np.zeros(length - 1), last) for last in lasts)
    return ForecastTask(histories=histories, horizon=horizon, quantile_levels=levels, **more)


@asynccontextmanager
async def held(model=None, *, clock=None, seconds_per_call=0.0, **bounds):
    """Gives a running engine whose lane waits for the test, and that lane."""
    model = model or EchoModel()
    clock = clock or ManualClock()
    lane = HeldLane(model, clock, seconds_per_call)
    engine = Engine([lane], EngineSettings(**{**QUIET, **bounds}), clock=clock)
    await engine.start()
    lane.calls.clear()
    lane.close()
    try:
        yield engine, lane
    finally:
        if not lane.is_open and lane._held is not None and not lane._held.done():
            await lane.open()
        lane.is_open = True
        await engine.drain(5.0)


@asynccontextmanager
async def threaded(model, **bounds):
    """Gives a running engine with a worker thread."""
    engine = Engine([ThreadLane(model)], EngineSettings(**{**QUIET, **bounds}))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.drain(5.0)


def start(engine, *tasks):
    """Submits without waiting."""
    return [asyncio.ensure_future(engine.submit(one)) for one in tasks]


def rows(call):
    """Gives the last value of every row of a call."""
    return [history[-1] for history in call.histories]


def metric(engine, line):
    """Gives the value of one sample."""
    text = generate_latest(engine.telemetry.registry).decode()
    return next(float(row.split()[-1]) for row in text.splitlines() if row.startswith(line))


def test_a_batch_equals_single_calls():
    async def law():
        async with held() as (engine, lane):
            first = start(engine, task(1.0))
            await settle()
            others = start(engine, task(2.0, 3.0), task(4.0, length=9))
            await settle()
            await lane.open()
            for one, submitted in zip(
                [task(1.0), task(2.0, 3.0), task(4.0, length=9)], first + others, strict=True
            ):
                result = (await submitted).forecast
                alone = echo_forecast(one.histories, one.horizon, one.quantile_levels)
                np.testing.assert_array_equal(result.quantiles, alone.quantiles)
                np.testing.assert_array_equal(result.mean, alone.mean)
            assert [rows(call) for call in lane.calls] == [[1.0], [2.0, 3.0, 4.0]]

    asyncio.run(law())


def test_an_idle_lane_starts_at_once_and_a_busy_one_lets_batches_grow():
    async def law():
        async with held() as (engine, lane):
            first = start(engine, task(1.0))
            await settle()
            assert [rows(call) for call in lane.calls] == [[1.0]]
            rest = start(engine, *(task(float(k)) for k in range(2, 7)))
            await settle()
            assert len(lane.calls) == 1
            await lane.finish()
            assert rows(lane.calls[1]) == [2.0, 3.0, 4.0, 5.0, 6.0]
            await lane.open()
            await asyncio.gather(*first, *rest)

    asyncio.run(law())


def test_only_equal_horizon_and_levels_share_a_call():
    async def law():
        async with held() as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            others = start(
                engine,
                task(1.0, horizon=2),
                task(2.0, horizon=3),
                task(3.0, levels=(0.5,)),
                task(4.0, horizon=2),
                task(5.0, horizon=3),
            )
            await settle()
            await lane.open()
            await asyncio.gather(*blocker, *others)
            assert [rows(call) for call in lane.calls[1:]] == [[1.0, 4.0], [2.0, 5.0], [3.0]]

    asyncio.run(law())


def test_a_large_task_is_cut_and_does_not_block_others():
    async def law():
        async with held(max_batch_rows=8) as (engine, lane):
            large = task(*map(float, range(100)))
            big = start(engine, large)
            await settle()
            small = start(engine, task(1000.0), task(1001.0, horizon=7))
            await settle()
            for _ in range(3):
                await lane.finish()
            assert all(one.done() for one in small)
            assert not big[0].done()
            await lane.open()
            result = (await big[0]).forecast
            np.testing.assert_array_equal(result.median[:, 0], np.arange(100.0))
            assert max(len(call.histories) for call in lane.calls) == 8

    asyncio.run(law())


def test_batches_are_bounded_by_points():
    async def law():
        async with held(max_batch_points=100) as (engine, lane):
            # A row is 18 + 2 points: five fit. The long row goes alone.
            submitted = start(
                engine, task(*map(float, range(12)), length=18), task(50.0, length=500)
            )
            await settle()
            await lane.open()
            await asyncio.gather(*submitted)
            for call in lane.calls:
                longest = max(len(history) for history in call.histories) + 2
                assert len(call.histories) == 1 or len(call.histories) * longest <= 100
            assert sorted(x for call in lane.calls for x in rows(call)) == [*range(12), 50.0]

    asyncio.run(law())


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    max_rows=st.integers(1, 16),
    max_points=st.integers(1, 200),
    horizons=st.lists(st.integers(1, 3), min_size=8, max_size=8),
)
def test_every_row_gets_its_own_forecast_however_it_is_cut(sizes, max_rows, max_points, horizons):
    async def law():
        async with held(max_batch_rows=max_rows, max_batch_points=max_points) as (engine, lane):
            tasks = []
            value = 0
            for size, horizon in zip(sizes, horizons, strict=False):
                values = [float(value + k) for k in range(size)]
                value += size
                tasks.append(task(*values, horizon=horizon))
            submitted = start(engine, *tasks)
            await settle()
            await lane.open()
            for one, future in zip(tasks, submitted, strict=True):
                forecast = (await future).forecast
                expected = [history[-1] for history in one.histories]
                np.testing.assert_array_equal(forecast.median[:, -1], expected)
                assert forecast.quantiles.shape == (one.rows, one.horizon, 3)
            seen = sorted(x for call in lane.calls for x in rows(call))
            assert seen == [float(k) for k in range(value)]

    asyncio.run(law())


def test_one_poison_row_fails_alone_within_log2_extra_calls():
    async def law():
        async with held(FailingModel()) as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            good = start(engine, *(task(float(k)) for k in range(1, 16)))
            bad = start(engine, task(5.0, POISON))
            await settle()
            await lane.open()
            results = await asyncio.gather(*blocker, *good, *bad, return_exceptions=True)
            assert isinstance(results[-1], ModelFailed)
            assert results[-1].field == "series[1].values"
            for k, result in enumerate(results[:-1]):
                np.testing.assert_array_equal(result.forecast.median, [[float(k)] * 2])
            # One batch of 17 rows, then two halves of it, five times over.
            assert len(lane.calls) <= 2 + 2 * 5
            assert metric(engine, "xlstmd_poison_isolated_total") == 1.0

    asyncio.run(law())


def test_a_refusal_by_the_model_names_the_row_of_the_task():
    async def law():
        refusal = InputError("histories[0]", "a varied series", "a constant one", code="bad_shape")
        async with held(FailingModel(refusal)) as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            bad = start(engine, task(1.0), task(1.0, 2.0, POISON))
            await settle()
            await lane.open()
            results = await asyncio.gather(*blocker, *bad, return_exceptions=True)
            assert isinstance(results[2], InputError)
            assert (results[2].field, results[2].code) == ("series[2].values", "bad_shape")
            assert not isinstance(results[1], Exception)

    asyncio.run(law())


def test_a_row_of_nan_fails_alone():
    async def law():
        async with held(NanRowModel()) as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            futures = start(engine, task(1.0), task(2.0, NAN_MAKER), task(3.0))
            await settle()
            await lane.open()
            good, bad, also_good = await asyncio.gather(*futures, return_exceptions=True)
            await asyncio.gather(*blocker)
            assert isinstance(bad, ModelFailed)
            assert "series[1]" in str(bad)
            assert np.isfinite(good.forecast.quantiles).all()
            assert np.isfinite(also_good.forecast.quantiles).all()
            assert metric(engine, "xlstmd_nonfinite_total") == 1.0
            assert len(lane.calls) == 2

    asyncio.run(law())


def test_the_queue_never_holds_more_than_its_bounds():
    async def law():
        async with held(max_queue_rows=10) as (engine, lane):
            accepted = start(engine, task(*range(6)), task(*range(4)))
            await settle()
            with pytest.raises(Overloaded) as caught:
                await engine.submit(task(1.0))
            assert 1.0 <= caught.value.retry_after_s <= 75.0
            assert engine.status().models[0].queued_series == 10
            assert (
                metric(engine, 'xlstmd_rejections_total{model="echo",reason="overloaded"}') == 1.0
            )
            await lane.open()
            await asyncio.gather(*accepted)
            assert engine.status().models[0].queued_series == 0
            await engine.submit(task(*range(10)))

    asyncio.run(law())


def test_the_queue_is_bounded_by_bytes_too():
    async def law():
        small = task(1.0)
        async with held(max_queue_bytes=2 * small.nbytes) as (engine, lane):
            accepted = start(engine, small, small)
            await settle()
            with pytest.raises(Overloaded):
                await engine.submit(small)
            await lane.open()
            await asyncio.gather(*accepted)

    asyncio.run(law())


def test_an_expired_task_is_dropped_before_it_is_computed():
    async def law():
        clock = ManualClock()
        async with held(clock=clock) as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            late = start(engine, task(1.0, deadline_s=5.0), task(2.0, deadline_s=50.0))
            await settle()
            clock.advance(10.0)
            await lane.open()
            dropped, done = await asyncio.gather(*late, return_exceptions=True)
            await asyncio.gather(*blocker)
            assert isinstance(dropped, DeadlineExceeded)
            assert done.queue_ms == pytest.approx(10_000.0)
            assert [rows(call) for call in lane.calls] == [[0.0], [2.0]]
            missed = metric(engine, 'xlstmd_deadline_missed_total{model="echo",stage="queue"}')
            assert missed == 1.0

    asyncio.run(law())


def test_a_waiting_caller_hears_of_its_deadline_in_time():
    async def law():
        model = SlowModel()
        async with threaded(model) as engine:
            model.entered.clear()
            model.release.clear()
            blocker = start(engine, task(0.0))
            await asyncio.to_thread(model.entered.wait, 5.0)
            with pytest.raises(DeadlineExceeded):
                await asyncio.wait_for(engine.submit(task(1.0, deadline_s=0.02)), 5.0)
            model.release.set()
            await asyncio.gather(*blocker)
            assert [call[0] for call in model.calls] == [1, 1]

    asyncio.run(law())


@pytest.mark.parametrize("deadline", [0.0, -1.0])
def test_no_time_at_all_is_refused_at_the_door(deadline):
    async def law():
        async with held() as (engine, lane):
            with pytest.raises(DeadlineExceeded):
                await engine.submit(task(1.0, deadline_s=deadline))
            assert not lane.calls
            lane.is_open = True

    asyncio.run(law())


def test_a_hopeless_deadline_is_refused_at_the_door():
    async def law():
        clock = ManualClock()
        async with held(clock=clock, seconds_per_call=2.0) as (engine, lane):
            lane.is_open = True
            await engine.submit(task(1.0))
            calls = len(lane.calls)
            with pytest.raises(DeadlineExceeded):
                await engine.submit(task(1.0, deadline_s=1.0))
            assert len(lane.calls) == calls
            await engine.submit(task(1.0, deadline_s=3.0))

    asyncio.run(law())


def test_an_answer_after_the_deadline_is_no_answer():
    async def law():
        clock = ManualClock()
        async with held(clock=clock, seconds_per_call=2.0) as (engine, lane):
            lane.is_open = True
            with pytest.raises(DeadlineExceeded):
                await engine.submit(task(1.0, deadline_s=1.0))
            assert len(lane.calls) == 1

    asyncio.run(law())


def test_a_cancelled_task_is_dropped_before_it_is_computed():
    async def law():
        async with held() as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            gone, stays = start(engine, task(1.0), task(2.0))
            await settle()
            gone.cancel()
            await settle()
            assert engine.status().models[0].queued_series == 2
            await lane.open()
            await asyncio.gather(*blocker, stays)
            assert [rows(call) for call in lane.calls] == [[0.0], [2.0]]
            assert metric(engine, "xlstmd_cancelled_total") == 1.0

    asyncio.run(law())


def test_cancelled_tasks_leave_nothing_behind():
    async def law():
        async with held() as (engine, lane):
            blocker = start(engine, task(0.0))
            await settle()
            futures = start(engine, *(task(float(k)) for k in range(50)))
            await settle()
            for future in futures:
                future.cancel()
            await settle()
            waiting = engine._batchers["echo"]._waiting
            assert len(waiting) == 1
            assert not waiting._groups
            await lane.open()
            await asyncio.gather(*blocker)

    asyncio.run(law())


def test_drain_completes_accepted_work_and_refuses_new():
    async def law():
        async with held() as (engine, lane):
            accepted = start(engine, task(1.0), task(2.0))
            await settle()
            draining = asyncio.ensure_future(engine.drain(5.0))
            await settle()
            assert engine.phase is Phase.DRAINING
            assert not engine.status().is_ready
            with pytest.raises(EngineStopped):
                await engine.submit(task(3.0))
            await lane.open()
            results = await asyncio.gather(*accepted)
            assert [result.forecast.median[0, 0] for result in results] == [1.0, 2.0]
            await draining
            assert engine.phase is Phase.STOPPED

    asyncio.run(law())


def test_drain_is_bounded():
    async def law():
        async with held() as (engine, _lane):
            stuck = start(engine, task(1.0))
            await settle()
            await asyncio.wait_for(engine.drain(0.01), 5.0)
            with pytest.raises(EngineStopped):
                await stuck[0]
            assert engine.phase is Phase.STOPPED

    asyncio.run(law())


def test_a_dead_lane_fails_its_tasks_and_takes_none():
    async def law():
        async with held() as (engine, lane):
            waiting = start(engine, task(1.0), task(2.0))
            await settle()
            lane.is_alive = False
            engine.check_lanes()
            for future in waiting:
                with pytest.raises(LaneDown):
                    await future
            with pytest.raises(LaneDown):
                await engine.submit(task(3.0))
            assert not engine.status().is_ready
            assert metric(engine, "xlstmd_lane_up") == 0.0

    asyncio.run(law())


def test_a_hanging_lane_is_down_until_it_gives_a_sign():
    async def law():
        async with held(lane_timeout_s=30.0) as (engine, lane):
            hanging = start(engine, task(1.0))
            await settle()
            lane.heartbeat_age_s = 31.0
            engine.check_lanes()
            with pytest.raises(LaneDown):
                await hanging[0]
            lane.heartbeat_age_s = 0.0
            await lane.open()
            assert (await engine.submit(task(2.0))).forecast.median[0, 0] == 2.0

    asyncio.run(law())


def test_whatever_a_model_raises_the_lane_lives_on():
    async def law():
        for error in (SystemExit(3), StopIteration(), KeyboardInterrupt(), MemoryError()):
            async with threaded(FailingModel(error)) as engine:
                with pytest.raises(ModelFailed):
                    await engine.submit(task(POISON))
                assert (await engine.submit(task(1.0))).forecast.median[0, 0] == 1.0

    asyncio.run(law())


def test_the_event_loop_turns_while_the_model_computes():
    async def law():
        model = SlowModel()
        async with threaded(model) as engine:
            model.release.clear()
            future = start(engine, task(1.0))[0]
            await asyncio.sleep(0.01)
            assert not future.done()
            model.release.set()
            assert (await future).model == "echo@1"

    asyncio.run(law())


def test_an_idle_model_is_tried_and_a_failing_one_is_not_ready():
    async def law():
        model = EchoModel()
        clock = ManualClock()
        lane = HeldLane(model, clock)
        engine = Engine([lane], EngineSettings(canary_interval_s=10.0), clock=clock)
        await engine.start()
        assert engine.status().is_ready
        clock.advance(11.0)
        calls = len(lane.calls)
        await engine.run_canaries()
        assert len(lane.calls) == calls + 1
        model.forecast = None
        clock.advance(31.0)
        assert not engine.status().is_ready
        await engine.run_canaries()
        assert not engine.status().is_ready
        await engine.drain(1.0)

    asyncio.run(law())


def test_a_model_that_cannot_warm_up_stops_the_start():
    async def law():
        class Broken(EchoModel):
            def forecast(self, histories, horizon, quantile_levels):
                raise RuntimeError("broken")

        engine = Engine([ThreadLane(Broken())], EngineSettings())
        with pytest.raises(RuntimeError, match="broken"):
            await engine.start()
        with pytest.raises(EngineStopped):
            await engine.submit(task(1.0))
        await engine.drain(1.0)

    asyncio.run(law())


def test_models_are_found_by_name_and_by_identity():
    async def law():
        first, second = EchoModel("a"), EchoModel("b", "7")
        engine = Engine(
            [ThreadLane(first), ThreadLane(second)], EngineSettings(**QUIET, default_model="b")
        )
        await engine.start()
        assert (await engine.submit(task(1.0))).model == "b@7"
        assert (await engine.submit(task(1.0, model="a"))).model == "a@1"
        assert engine.find_model("b@7") == "b@7"
        with pytest.raises(ModelNotFound):
            await engine.submit(task(1.0, model="b@8"))
        assert [entry["default"] for entry in engine.describe_models()] == [False, True]
        await engine.drain(1.0)

    asyncio.run(law())


def test_a_default_model_must_be_loaded():
    with pytest.raises(ConfigError):
        Engine([ThreadLane(EchoModel("a"))], EngineSettings(default_model="z"))
    with pytest.raises(ConfigError):
        Engine([], EngineSettings())


@pytest.mark.parametrize("name", ["max_queue_rows", "max_batch_points", "lane_timeout_s"])
def test_bounds_that_let_nothing_through_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        EngineSettings(**{name: 0})
