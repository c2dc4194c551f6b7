"""How a lane comes back: never with slots that are not its own, whatever happens meanwhile."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest

from tests.engine.streams import FakeStreamModel, MemoryStore, Replay, assert_same, new_engine, step
from tests.engine.test_process_lane import run, until_up
from tests.faulty_models import NAP
from tests.told_models import LOADED
from xlstmd.engine.engine import WATCH_S
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.engine.suspects import CRASHES
from xlstmd.errors import LaneDown


@asynccontextmanager
async def told(folder, lane_timeout_s=1.0):
    """Gives a running engine over a process that does what the files of a folder say."""
    source = ModelSource(loader="tests.told_models:load", arguments={"folder": str(folder)})
    lane = await asyncio.to_thread(ProcessLane, source)
    store = MemoryStore()
    bounds = {"lane_timeout_s": lane_timeout_s}
    engine = new_engine(FakeStreamModel(), lanes=[lane], store=store, **bounds)
    await engine.start()
    try:
        yield engine, lane
    finally:
        await engine.drain(5.0)


async def feed(sessions, replay, *seqs):
    """Takes steps, each like those of a stream of its own, and brings them to the store."""
    for seq in seqs:
        request = step("a", seq, float(seq))
        assert_same(await sessions.append(request), replay(request))
    await sessions.keep()


async def until_down(engine):
    while engine.status().is_ready:
        await asyncio.sleep(0.01)


def put(folder, place, word):
    (folder / place).write_text(word)


def test_a_worker_that_comes_to_life_again_is_not_gone_on_with(tmp_path):
    async def law():
        async with told(tmp_path) as (engine, lane):
            replay = Replay(FakeStreamModel())
            await feed(engine.sessions, replay, 1, 2)
            # As after some deaths: the next worker has to wait.
            engine._keepers[0]._delay_s = 1.5
            os.kill(lane.pid, signal.SIGSTOP)
            await until_down(engine)
            # The next look finds it, and gives it up.
            await asyncio.sleep(2.0 * WATCH_S)
            with suppress(ProcessLookupError):
                os.kill(lane.pid, signal.SIGCONT)
            for _ in range(30):
                with pytest.raises(LaneDown):
                    await engine.sessions.append(step("a", 3, 3.0))
                assert not engine.status().is_ready
                await asyncio.sleep(0.02)
            await until_up(engine)
            await feed(engine.sessions, replay, 3, 4)

    run(law)


def test_sessions_that_came_back_before_the_next_death_come_back_again(tmp_path):
    async def law():
        async with told(tmp_path, lane_timeout_s=5.0) as (engine, lane):
            replay = Replay(FakeStreamModel())
            await feed(engine.sessions, replay, 1, 2)
            put(tmp_path, "open", "nap")
            put(tmp_path, "call", "exit")
            pid = lane.pid
            os.kill(pid, signal.SIGKILL)
            while not (lane.is_alive and lane.pid != pid):
                await asyncio.sleep(0.01)
            # It is in a slot again when the warm-up ends the worker.
            with pytest.raises(LaneDown):
                await engine.sessions.append(step("a", 3, 3.0))
            for place in ("open", "call"):
                (tmp_path / place).unlink()
            await until_up(engine)
            await feed(engine.sessions, replay, 3, 4)

    run(law)


@pytest.mark.parametrize("place", ["open", "call"])
@pytest.mark.parametrize("word", ["hang", "raise", "exit"])
def test_a_worker_that_fails_as_it_begins_is_replaced_until_one_does_not(tmp_path, place, word):
    async def law():
        async with told(tmp_path) as (engine, lane):
            replay = Replay(FakeStreamModel())
            await feed(engine.sessions, replay, 1, 2)
            put(tmp_path, place, word)
            os.kill(lane.pid, signal.SIGKILL)
            loads = len((tmp_path / LOADED).read_text().splitlines())
            while len((tmp_path / LOADED).read_text().splitlines()) < loads + 3:
                await asyncio.sleep(0.02)
                if engine.status().is_ready:
                    raise AssertionError("ready, with a model that cannot compute")
            with pytest.raises(LaneDown):
                await engine.sessions.append(step("a", 3, 3.0))
            (tmp_path / place).unlink()
            await until_up(engine)
            await feed(engine.sessions, replay, 3, 4)

    run(law)


def test_a_launch_does_not_outlive_a_drain(tmp_path):
    async def law():
        async with told(tmp_path) as (engine, lane):
            put(tmp_path, "load", "hang")
            os.kill(lane.pid, signal.SIGKILL)
            while len((tmp_path / LOADED).read_text().splitlines()) < 2:
                await asyncio.sleep(0.02)
            began = asyncio.get_running_loop().time()
            await engine.drain(5.0)
            await asyncio.get_running_loop().shutdown_default_executor()
            assert asyncio.get_running_loop().time() - began < 2.0
            pid = int((tmp_path / LOADED).read_text().split()[-1])
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)

    run(law)


def test_nobody_is_blamed_for_a_kill_from_outside(tmp_path):
    async def law():
        async with told(tmp_path, lane_timeout_s=5.0) as (engine, lane):
            for _ in range(CRASHES + 1):
                held = asyncio.ensure_future(engine.sessions.append(step("a", 1, NAP)))
                await asyncio.sleep(0.3)
                os.kill(lane.pid, signal.SIGKILL)
                with pytest.raises(LaneDown):
                    await held
                await until_up(engine)
            assert (await engine.sessions.append(step("a", 1, 1.0))).seq == 1

    run(law)
