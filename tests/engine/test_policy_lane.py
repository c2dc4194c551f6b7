"""A real policy in a process of its own: exact actions, and what its callers get when it fails."""

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager

import numpy as np
import pytest

from tests.engine.policies import step
from tests.engine.streams import MemoryStore
from tests.small_policies import draw_observations, random_policy_checkpoint
from xlstmd.engine.engine import Engine
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.policy_status import OF_THE_POLICY, ActionStatus
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.engine.settings import EngineSettings
from xlstmd.errors import SeqConflict
from xlstmd.models.policy_checkpoint import save_policy
from xlstmd.models.served_policy import load_served_policy

KIND = "clipped"
PATIENT = {"policy": KIND, "deadline_ms": 20_000.0}
LATE_MS = 25.0
HURRIED = {"policy": KIND, "deadline_ms": LATE_MS}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Gives where the policy lies."""
    folder = tmp_path_factory.mktemp("policy")
    save_policy(random_policy_checkpoint(KIND), folder)
    arguments = {"name_or_path": str(folder), "runtime": None, "threads": 1}
    return ModelSource(
        loader="xlstmd.models.served_policy:load_served_policy",
        arguments=arguments | {"precision": "float32"},
    )


def usual():
    """Gives observations like those of training."""
    policy = random_policy_checkpoint(KIND)
    rng = np.random.default_rng(5)
    low, high = policy.statistics.lowest, policy.statistics.highest
    return rng.uniform(np.maximum(low, -1.0), high, size=(12, 2))


def owed(source, seen):
    """Gives the actions of the policy itself: with its own steps between them, none is held."""
    policy = load_served_policy(**source.arguments)._policy
    return policy.replay(seen[None])[0]


@asynccontextmanager
async def running(source, store=None, **more):
    """Gives a running engine and its lane."""
    lane = ProcessLane(source)
    bounds = {"canary_interval_s": 3600.0, "snapshot_interval_s": 3600.0, "session_bytes": 2**16}
    engine = Engine([lane], EngineSettings(**bounds | more), store=store)
    await engine.start()
    try:
        yield engine, lane
    finally:
        if lane.is_alive:
            os.kill(lane.pid, signal.SIGCONT)
        await engine.drain(5.0)


def run(work):
    """Runs a coroutine to its end."""
    return asyncio.run(asyncio.wait_for(work, 60.0))


async def until_up(engine):
    """Waits until the lane is back."""
    while not engine.status().is_ready:
        await asyncio.sleep(0.02)


def test_actions_are_those_of_the_policy_within_its_rates(source):
    async def play():
        seen = usual()
        wanted = owed(source, seen)
        async with running(source) as (engine, _):
            last = None
            for seq, one in enumerate(seen, start=1):
                result = await engine.sessions.step(step("a", seq, one, **PATIENT))
                assert result.statuses[0] in OF_THE_POLICY
                action = result.actions[0]
                if result.statuses[0] is not ActionStatus.RATE_LIMITED:
                    np.testing.assert_allclose(action, wanted[seq - 1], rtol=1e-5, atol=1e-5)
                if last is not None:
                    # The first number may change by 10 a second, in 20 ms at most.
                    assert abs(action - last)[0] <= 0.2 + 1e-9
                np.testing.assert_allclose(action[1], wanted[seq - 1][1], rtol=1e-5, atol=1e-5)
                last = action

    run(play())


def test_a_lane_that_is_stopped_answers_in_time_and_goes_on_where_it_was(source):
    async def play():
        seen = usual()
        wanted = owed(source, seen)
        async with running(source) as (engine, lane):
            await engine.sessions.step(step("a", 1, *seen[:2], **PATIENT))
            os.kill(lane.pid, signal.SIGSTOP)
            took = []
            for seq in range(3, 9):
                started = time.monotonic()
                result = await engine.sessions.step(step("a", seq, seen[seq - 1], **HURRIED))
                took.append(1000.0 * (time.monotonic() - started))
                assert result.statuses == (ActionStatus.FALLBACK_LATE,)
                assert result.pending
            # On a busy machine one may be late; most are not.
            assert np.median(took) <= LATE_MS + 5.0
            os.kill(lane.pid, signal.SIGCONT)
            result = await engine.sessions.step(step("a", 9, seen[8], **PATIENT))
            np.testing.assert_allclose(result.actions[0][1], wanted[8][1], rtol=1e-5, atol=1e-5)

    run(play())


def test_what_is_killed_is_replayed_from_what_is_durable(source):
    async def play():
        seen, store = usual(), MemoryStore()
        wanted = owed(source, seen)
        async with running(source, store) as (engine, lane):
            await engine.sessions.step(step("a", 1, *seen[:4], **PATIENT))
            await engine.sessions.keep()
            await engine.sessions.step(step("a", 5, seen[4], **PATIENT))
            os.kill(lane.pid, signal.SIGKILL)
            while lane.is_alive:
                await asyncio.sleep(0.005)
            result = await engine.sessions.step(step("a", 6, seen[5], **HURRIED))
            assert result.statuses == (ActionStatus.FALLBACK_LATE,)
            assert (result.seq, result.pending) == (5, False)
            await until_up(engine)
            with pytest.raises(SeqConflict) as conflict:
                await engine.sessions.step(step("a", 6, seen[5], **PATIENT))
            assert (conflict.value.expected, conflict.value.durable_seq) == (5, 4)
            result = await engine.sessions.step(step("a", 5, *seen[4:], **PATIENT))
            np.testing.assert_allclose(result.actions[:, 1], wanted[4:, 1], rtol=1e-5, atol=1e-5)

    run(play())


def test_observations_drawn_wide_get_no_bad_action(source):
    async def play():
        low, high = np.array([-2.0, 0.0]), np.array([3.0, 1.0])
        seen = draw_observations(KIND, 1, 200)[0] * np.geomspace(0.1, 1e30, 200)[:, None]
        async with running(source) as (engine, _):
            result = await engine.sessions.step(step("a", 1, *seen, **PATIENT))
            assert ((result.actions >= low) & (result.actions <= high)).all()
            assert ActionStatus.FALLBACK_OOD in result.statuses

    run(play())
