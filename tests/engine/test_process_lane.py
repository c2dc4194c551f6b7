"""Lanes that are processes: the same answers as in a thread, and what happens when they die."""

import asyncio
import gc
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.streams import (
    NAN_MAKER,
    REFUSED,
    FakeStreamModel,
    MemoryStore,
    Replay,
    assert_same,
    new_engine,
    step,
)
from tests.faulty_models import EXIT, HANG, RAISE, SEGFAULT
from xlstmd.engine import lane_channel
from xlstmd.engine.lane import ThreadLane
from xlstmd.engine.lane_worker import LaneWorker
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.orders import (
    ClearSlots,
    ExportSlots,
    Forecast,
    Move,
    OpenSlots,
    RestoreSlot,
    TakeSteps,
)
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.engine.tasks import ForecastTask
from xlstmd.errors import (
    CheckpointError,
    LaneDown,
    ModelFailed,
    Overloaded,
    SeqConflict,
    SessionUnknown,
    SnapshotDamaged,
)
from xlstmd.models.stream_step import StreamStep

LEVELS = (0.1, 0.5, 0.9)
NAMES = ("mean", "median", "quantiles")


def source(name="FaultyModel", **arguments):
    return ModelSource(loader=f"tests.faulty_models:{name}", arguments=arguments)


@asynccontextmanager
async def lane(name="FaultyModel"):
    """Gives a lane that runs, and a list with an entry for each death that it told of."""
    made, deaths = await asyncio.to_thread(ProcessLane, source(name)), []
    made.start(lambda: deaths.append(time.monotonic()))
    try:
        yield made, deaths
    finally:
        await made.stop(5.0)


@asynccontextmanager
async def engine(store=None, **bounds):
    """Gives a running engine over a process."""
    made = await asyncio.to_thread(ProcessLane, source())
    running = new_engine(FakeStreamModel(), lanes=[made], store=store, **bounds)
    await running.start()
    try:
        yield running, made
    finally:
        await running.drain(5.0)


def run(law):
    asyncio.run(asyncio.wait_for(law(), 60.0))


def move(slot, values, *, source=None, horizon=5, levels=LEVELS, rate=0.1):
    return Move(
        source,
        StreamStep(
            slot=slot,
            values=np.array(values, dtype=np.float64),
            horizon=horizon,
            quantile_levels=levels,
            anomaly_rate=rate,
        ),
    )


def task(*values):
    history = np.array(values, dtype=np.float64)
    return ForecastTask(histories=(history,), horizon=2, quantile_levels=LEVELS)


async def until_up(engine):
    while not engine.status().is_ready:
        await asyncio.sleep(0.02)


def assert_forecast(one, other):
    assert (one is None) == (other is None)
    if one is not None:
        assert (one.quantile_levels, one.mean_method) == (other.quantile_levels, other.mean_method)
        for name in NAMES:
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
            assert getattr(one, name).shape == getattr(other, name).shape


def test_a_process_answers_as_the_model_itself_does():
    async def law():
        from tests.small_models import random_forecaster

        rng = np.random.default_rng(0)
        worker = LaneWorker(random_forecaster())
        # Some messages fit into the shared memory, some do not.
        lengths = (3, 700, 40_000, 180_000)
        gaps = np.where(rng.random(500) < 0.2, np.nan, rng.normal(size=500))
        orders = [
            Forecast([rng.normal(size=length) for length in lengths], 70, (0.2, 0.5)),
            Forecast([gaps], 1, LEVELS),
            OpenSlots(8),
            TakeSteps(
                [
                    move(0, rng.normal(size=200)),
                    move(1, gaps, horizon=0),
                    move(2, [1.0], rate=None, horizon=90),
                    move(3, [], rate=None, levels=(0.5,)),
                    move(4, np.full(3, np.nan)),
                ]
            ),
            TakeSteps([move(5, rng.normal(size=150_000), source=0, horizon=0)]),
            ExportSlots([0, 1, 5]),
            ClearSlots([0, 1]),
            ExportSlots([0]),
            ExportSlots([]),
        ]
        async with lane("small_random") as (made, _):
            for order in orders:
                given, wanted = await made.call(order), worker.do(order)
                if isinstance(order, Forecast):
                    assert_forecast(given, wanted)
                elif isinstance(order, TakeSteps):
                    for one, other in zip(given, wanted, strict=True):
                        assert_forecast(one.forecast, other.forecast)
                        assert str(one.error) == str(other.error)
                        assert type(one.error) is type(other.error)
                        if other.error is None:
                            assert_same(one, other)
                else:
                    assert given == wanted
            (payload,) = worker.do(ExportSlots([5]))
            await made.call(RestoreSlot(7, payload))
            assert await made.call(ExportSlots([7])) == [payload]
            with pytest.raises(SnapshotDamaged, match="snapshot: expected"):
                await made.call(RestoreSlot(7, b"nothing"))

    run(law)


def test_errors_come_through_with_their_class_and_fields():
    async def law():
        async with lane() as (made, deaths):
            with pytest.raises(ZeroDivisionError, match="told to raise") as caught:
                await made.call(Forecast([np.array([RAISE])], 1, LEVELS))
            assert "faulty_models.py" in caught.value.__notes__[0]
            await made.call(OpenSlots(2))
            (answer,) = await made.call(TakeSteps([move(0, [REFUSED])]))
            assert (answer.error.field, answer.error.code) == ("values", "out_of_range")
            assert not deaths

    run(law)


@pytest.mark.parametrize("value", [EXIT, SEGFAULT])
def test_all_that_is_in_line_fails_at_once_when_the_process_ends(value):
    async def law():
        async with lane() as (made, deaths):
            orders = [Forecast([np.array([each])], 1, LEVELS) for each in (1.0, value, 2.0, 3.0)]
            first, *others = [made.call(order) for order in orders]
            await first
            for other in others:
                with pytest.raises(LaneDown):
                    await other
            assert len(deaths) == 1
            assert not made.is_alive
            with pytest.raises(LaneDown):
                made.call(orders[0])
            await made.restart()
            assert (await made.call(orders[0])).median[0, 0] == 1.0

    run(law)


def test_a_process_that_stands_still_gives_no_signs_and_is_replaced():
    async def law():
        async with lane() as (made, _):
            await made.call(Forecast([np.array([1.0])], 1, LEVELS))
            assert made.heartbeat_age_s < 0.5
            hanging = made.call(Forecast([np.array([HANG])], 1, LEVELS))
            await asyncio.sleep(1.2)
            assert made.heartbeat_age_s > 1.0
            pid = made.pid
            await made.restart()
            with pytest.raises(LaneDown):
                await hanging
            assert made.pid != pid
            assert made.heartbeat_age_s < 1.0
            await asyncio.sleep(1.2)
            assert made.heartbeat_age_s < 1.0

    run(law)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"kind": "CheckpointError"}, CheckpointError),
        ({"kind": "exit"}, LaneDown),
        ({"wrong": 1}, TypeError),
    ],
)
def test_a_model_that_cannot_be_loaded_says_why(arguments, error):
    with pytest.raises(error):
        ProcessLane(source("unloadable", **arguments))


def test_processes_leave_nothing_behind():
    async def law():
        async with lane() as (made, _):
            for _ in range(3):
                await made.call(Forecast([np.zeros(400_000)], 1, LEVELS))
                await made.restart()
            pids.append(made.pid)

    pids = []
    run(law)
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    run(law)
    gc.collect()
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert after <= before
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_no_process_outlives_its_front():
    program = (
        "import os, sys\n"
        "from xlstmd.engine.model_source import ModelSource\n"
        "from xlstmd.engine.process_lane import ProcessLane\n"
        "lane = ProcessLane(ModelSource(loader='tests.faulty_models:FaultyModel'))\n"
        "print(lane.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )

    async def law():
        front = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
        )
        out, _ = await front.communicate()
        for _ in range(200):
            try:
                os.kill(int(out), 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the lane's process is still there")

    run(law)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_message_of_any_size_arrives(name):
    here, there = socket.socketpair()
    memory = lane_channel.make_memory()
    front = lane_channel.LaneChannel(here, memory, is_lane=False)
    back = lane_channel.LaneChannel(there, memory, is_lane=True)
    for count in (0, 1, 7, lane_channel.HALF_BYTES // 8 - 64, lane_channel.HALF_BYTES):
        arrays = [np.arange(count, dtype=np.float64), np.array([[True, False]]), np.empty((0, 3))]
        for one, other in ((front, back), (back, front)):
            one.send({"name": name, "count": count}, arrays)
            message = other.receive()
            assert message.header == {"name": name, "count": count}
            for sent, got in zip(arrays, message.arrays, strict=True):
                assert got.dtype == sent.dtype
                np.testing.assert_array_equal(got, sent)
    front.close()
    with pytest.raises(lane_channel.Closed):
        back.receive()
    os.close(memory)
    back.close()


def test_a_sign_is_read_whole_while_it_is_written():
    program = (
        "import socket, sys, time\n"
        "from xlstmd.engine.lane_channel import LaneChannel\n"
        "connection, memory = map(int, sys.argv[1:])\n"
        "lane = LaneChannel(socket.socket(fileno=connection), memory, is_lane=True)\n"
        "until = time.monotonic() + 0.5\n"
        "lane.give_sign()\n"
        "lane.send({})\n"
        "while time.monotonic() < until:\n"
        "    lane.give_sign()\n"
    )
    here, there = socket.socketpair()
    memory = lane_channel.make_memory()
    front = lane_channel.LaneChannel(here, memory, is_lane=False)
    inherited = (there.fileno(), memory)
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, inherited)], pass_fds=inherited
    ) as lane:
        front.receive()
        last = front.beat
        while lane.poll() is None:
            for _ in range(10_000):
                beat = front.beat
                assert last <= beat
                last = beat
    there.close()
    os.close(memory)
    front.close()


@contextmanager
def no_more_files():
    """Lets this process open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_front_without_files_loses_large_messages_and_no_worker():
    async def law():
        large = Forecast([np.zeros(400_000)], 1, LEVELS)
        wide = Forecast([np.array([1.0])], 60_000, LEVELS)
        small = Forecast([np.array([1.0])], 1, LEVELS)
        async with lane() as (made, deaths):
            before, pid = len(os.listdir("/proc/self/fd")), made.pid
            with no_more_files():
                orders = [made.call(one) for one in (large, small, wide, small, large)]
                answers = await asyncio.gather(*orders, return_exceptions=True)
            assert [isinstance(one, LaneDown) for one in answers] == [
                True,
                False,
                True,
                False,
                True,
            ]
            assert not any(getattr(one, "had_it", False) for one in answers)
            for order in (wide, large):
                await made.call(order)
            assert (made.pid, deaths) == (pid, [])
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == before

    run(law)


def test_a_launch_that_cannot_be_leaves_no_files_open():
    async def law():
        async with lane() as (made, _):
            made.give_up()
            await asyncio.sleep(0.05)
            gc.collect()
            before = len(os.listdir("/proc/self/fd"))
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            failures = 0
            while not made.is_alive:
                # Each time there is room for one more of all that a launch opens.
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + failures, hard))
                try:
                    await made.restart()
                except (OSError, LaneDown):
                    failures += 1
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                if not made.is_alive:
                    gc.collect()
                    assert len(os.listdir("/proc/self/fd")) <= before
            assert failures > 3

    run(law)


def test_sessions_come_back_from_the_store_when_their_lane_dies():
    async def law():
        store = MemoryStore()
        async with engine(store=store) as (running, made):
            sessions, replay = running.sessions, Replay(FakeStreamModel())
            for seq in (1, 2):
                request = step("a", seq, float(seq))
                assert_same(await sessions.append(request), replay(request))
            await sessions.keep()
            lost = step("a", 3, 3.0)
            await sessions.append(lost)
            await sessions.append(step("young", 1, 1.0))
            os.kill(made.pid, signal.SIGKILL)
            with pytest.raises(LaneDown):
                await sessions.append(step("a", 4, 4.0))
            assert not running.status().is_ready
            await until_up(running)
            with pytest.raises(SeqConflict) as caught:
                await sessions.append(step("a", 4, 4.0))
            assert (caught.value.expected, caught.value.durable_seq) == (3, 2)
            for request in (lost, step("a", 4, 4.0)):
                assert_same(await sessions.append(request), replay(request))
            with pytest.raises(SessionUnknown):
                await sessions.append(step("young", 2, 1.0))
            assert (await sessions.append(step("young", 1, 1.0))).seq == 1

    run(law)


@pytest.mark.parametrize("value", [EXIT, SEGFAULT])
def test_every_request_of_a_dying_lane_is_answered_within_a_tenth_of_a_second(value):
    async def law():
        async with engine() as (running, made):
            for number in range(20):
                await running.sessions.append(step(f"s{number}", 1, 1.0))
            requests = [
                *(running.sessions.append(step(f"s{number}", 2, 2.0)) for number in range(20)),
                *(running.submit(task(1.0)) for _ in range(20)),
                running.submit(task(value)),
            ]
            began = time.monotonic()
            answers = await asyncio.gather(*requests, return_exceptions=True)
            assert time.monotonic() - began < 1.0
            assert all(
                isinstance(one, LaneDown) or not isinstance(one, Exception) for one in answers
            )
            assert isinstance(answers[-1], LaneDown)
            await until_up(running)
            assert (await running.submit(task(5.0))).forecast.median[0, 0] == 5.0
            assert made.is_alive

    run(law)


def test_a_hanging_lane_is_found_by_its_signs_and_replaced():
    async def law():
        async with engine(lane_timeout_s=1.0) as (running, made):
            pid = made.pid
            hanging = asyncio.ensure_future(running.submit(task(HANG)))
            with pytest.raises(LaneDown):
                await hanging
            await until_up(running)
            assert made.pid != pid
            assert (await running.submit(task(5.0))).forecast.median[0, 0] == 5.0

    run(law)


def test_a_lane_dies_amid_saves_resets_and_restores_and_nothing_is_mixed_up():
    async def law():
        store = MemoryStore()
        async with engine(store=store, rooms=4, snapshot_interval_s=0.01) as (running, made):
            sessions = running.sessions

            async def client(name):
                """Feeds one session, going back to what is durable when told so."""
                sent, seq, done = [], 0, 0
                while done < 40:
                    seq += 1
                    request = step(name, seq, float(seq), rate=None)
                    try:
                        result = await sessions.append(request)
                    except (LaneDown, Overloaded):
                        seq -= 1
                        await asyncio.sleep(0.02)
                        continue
                    except SeqConflict as conflict:
                        seq = conflict.expected - 1
                        continue
                    except SessionUnknown:
                        seq = 0
                        continue
                    sent = [*sent[: seq - 1], request]
                    replay = Replay(FakeStreamModel())
                    for each in sent:
                        answer = replay(each)
                    assert_same(result, replace(answer, scores=None))
                    done += 1

            clients = [asyncio.ensure_future(client(f"s{number}")) for number in range(10)]
            while not all(one.done() for one in clients):
                await asyncio.sleep(0.15)
                if made.is_alive:
                    os.kill(made.pid, signal.SIGKILL)
                if time.monotonic() - began > 20.0:
                    break
            await asyncio.gather(*clients)
            arena = running.sessions._parts.arenas["echo@1"]
            await until_up(running)
            hot = len(sessions._parts.table.of("echo@1"))
            assert arena.pool.spare == arena.slots - hot

    began = time.monotonic()
    run(law)


def test_bad_numbers_in_a_step_stay_in_its_row():
    async def law():
        async with engine() as (running, _):
            steps = [step("good", 1, 1.0), step("bad", 1, NAN_MAKER), step("ugly", 1, REFUSED)]
            good, bad, ugly = await asyncio.gather(
                *map(running.sessions.append, steps), return_exceptions=True
            )
            assert_same(good, Replay(FakeStreamModel())(steps[0]))
            assert isinstance(bad, ModelFailed)
            assert "append" in str(ugly)

    run(law)


def test_a_thread_cannot_be_replaced():
    async def law():
        with pytest.raises(LaneDown, match="cannot be replaced"):
            await ThreadLane(FakeStreamModel()).restart()

    run(law)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs limits of other processes")
def test_a_process_without_open_files_fails_large_orders_alone_and_blames_nobody():
    async def law():
        async with engine() as (running, made):
            pid = made.pid
            large = ForecastTask(
                histories=(np.arange(200_000.0),), horizon=2, quantile_levels=LEVELS
            )
            used = len(os.listdir(f"/proc/{pid}/fd"))
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used - 1, hard))
            for _ in range(3):
                with pytest.raises(LaneDown, match="no open file"):
                    await running.submit(large)
            assert (await running.submit(task(1.0))).forecast.median[0, 0] == 1.0
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert (await running.submit(large)).forecast.median[0, 0] == 199_999.0
            assert made.pid == pid

    run(law)
