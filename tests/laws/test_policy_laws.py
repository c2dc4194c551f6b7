"""What holds for policies: a pass is its steps, a start is a start, and a row is alone."""

import numpy as np
import pytest

from tests.small_policies import KINDS, draw_observations, random_policy, random_policy_checkpoint
from xlstmd.errors import InputError
from xlstmd.models.policy import load_policy
from xlstmd.models.policy_checkpoint import save_policy
from xlstmd.models.policy_runtime import make_policy_runtime
from xlstmd.ops.native import load_native

RUNTIMES = ("native", "torch") if load_native().library is not None else ("torch",)
ROWS, STEPS = 5, 23
FORMS = 1e-5

pytestmark = pytest.mark.parametrize("kind", KINDS)


def outputs_of_pass(policy, observations, starts=None):
    """Gives the head's numbers of whole sequences, and the memories after them."""
    runtime = policy.runtime
    arena = runtime.init_state(len(observations))
    slots = np.arange(len(observations))
    return runtime.run(policy.encoder(observations), arena, slots, starts), arena


def outputs_of_steps(policy, observations, starts=None):
    """Gives the same, step by step through slots that change places."""
    rows, steps = observations.shape[:2]
    runtime = policy.runtime
    arena = runtime.init_state(2 * rows)
    empty = runtime.init_state(1)[0]
    stepper = runtime.stepper(arena, rows)
    here, there = np.arange(rows), np.arange(rows, 2 * rows)
    outputs = []
    for step in range(steps):
        if starts is not None:
            arena[here[starts[:, step]]] = empty
        stepper.x[:] = policy.encoder(observations[:, step])
        stepper.source[:], stepper.target[:] = here, there
        stepper.step(rows)
        outputs.append(stepper.y.copy())
        here, there = there, here
    return np.stack(outputs, axis=1), arena[here]


def assert_near(actual, expected, tolerance=FORMS):
    assert np.abs(actual - expected).max() <= tolerance * max(np.abs(expected).max(), 1.0)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pass_is_its_steps(kind, runtime):
    policy = random_policy(kind, runtime=runtime)
    observations = draw_observations(kind, ROWS, STEPS)
    whole, after = outputs_of_pass(policy, observations)
    stepped, memories = outputs_of_steps(policy, observations)
    assert_near(stepped, whole)
    assert_near(memories, after)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_start_inside_of_a_sequence_is_a_start(kind, runtime):
    policy = random_policy(kind, runtime=runtime)
    observations = draw_observations(kind, ROWS, STEPS)
    starts = np.random.default_rng(5).random((ROWS, STEPS)) < 0.15
    starts[0], starts[1, 4:7] = False, True
    whole, after = outputs_of_pass(policy, observations, starts)
    stepped, memories = outputs_of_steps(policy, observations, starts)
    assert_near(stepped, whole)
    assert_near(memories, after)
    for row in range(1, ROWS):
        for first in np.flatnonzero(starts[row]):
            alone, _ = outputs_of_pass(
                policy, observations[row : row + 1, first:], starts[row : row + 1, first:]
            )
            assert_near(alone[0], whole[row, first:])


def test_a_row_is_alone(kind):
    policy = random_policy(kind)
    observations = draw_observations(kind, ROWS, STEPS)
    together = policy.episodes(ROWS)
    actions = [together.act(observations[:, step]) for step in range(STEPS)]
    for row in range(ROWS):
        alone = policy.episodes()
        for step in range(STEPS):
            action = alone.act(observations[row : row + 1, step])
            np.testing.assert_allclose(action[0], actions[step][row], atol=FORMS)
    np.testing.assert_allclose(policy.replay(observations), np.stack(actions, 1), atol=1e-4)


@pytest.mark.skipif(len(RUNTIMES) < 2, reason="needs the native library")
def test_native_is_torch(kind):
    observations = draw_observations(kind, ROWS, STEPS)
    starts = np.random.default_rng(6).random((ROWS, STEPS)) < 0.2
    native, torch = (
        outputs_of_pass(random_policy(kind, runtime=runtime), observations, starts)
        for runtime in RUNTIMES
    )
    assert_near(native[0], torch[0])
    assert_near(native[1], torch[1])


def test_saving_keeps_actions(kind, tmp_path):
    checkpoint = random_policy_checkpoint(kind)
    saved = save_policy(checkpoint, tmp_path / "a")
    loaded = load_policy(tmp_path / "a")
    assert loaded.checkpoint.sha256 == saved.sha256
    assert loaded.contract == checkpoint.contract
    assert loaded.checkpoint.config == checkpoint.config
    observations = draw_observations(kind, ROWS, STEPS)
    # Weights are rounded to half precision once; after that nothing changes any more.
    exact = outputs_of_pass(random_policy(kind), observations)[0]
    rounded = outputs_of_pass(loaded, observations)[0]
    assert_near(rounded, exact, 2e-2)
    save_policy(loaded.checkpoint, tmp_path / "b")
    again = outputs_of_pass(load_policy(tmp_path / "b"), observations)[0]
    np.testing.assert_array_equal(again, rounded)


def test_a_memory_can_be_moved_and_a_reset_is_a_new_episode(kind):
    policy = random_policy(kind)
    observations = draw_observations(kind, 1, STEPS)
    first, second = policy.episodes(2), policy.episodes(3)
    for step in range(4):
        first.act(observations[:, step])
    second.arena[2] = first.arena[0]
    for step in range(4, STEPS):
        expected = first.act(observations[:, step])
        moved = second.act(observations[:, step], source=[2])
        np.testing.assert_array_equal(moved, expected)
    second.reset([2])
    new = policy.episodes()
    np.testing.assert_array_equal(
        second.act(observations[:, 0], source=[2]), new.act(observations[:, 0])
    )


def test_no_observation_gives_an_action_out_of_bounds(kind):
    policy = random_policy(kind)
    rng = np.random.default_rng(7)
    play = policy.episodes(50)
    for step in range(40):
        observations = draw_observations(kind, 50, 1, seed=step)[:, 0]
        wild = rng.random(observations.shape) < 0.3
        observations[wild] = rng.choice([1e38, -1e38, 1.7e308, 0.0, -1.0, 7.5], size=wild.sum())
        actions = play.act(observations)
        np.testing.assert_array_equal(actions, policy.contract.bounded(actions))
        assert np.isfinite(play.arena).all()
    before = play.arena.copy()
    for bad in (np.nan, np.inf, -np.inf):
        observations[3, 0] = bad
        with pytest.raises(InputError, match="observations: expected finite numbers"):
            play.act(observations)
    np.testing.assert_array_equal(play.arena, before)


def test_both_runtimes_refuse_weights_that_do_not_fit(kind):
    checkpoint = random_policy_checkpoint(kind)
    weights = dict(checkpoint.weights)
    weights["head.bias"] = weights["head.bias"][:-1]
    for runtime in RUNTIMES:
        with pytest.raises(Exception, match="weights do not fit"):
            make_policy_runtime(checkpoint.config, weights, runtime)
