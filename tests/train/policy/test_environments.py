"""Environments are what their contracts say, and hide what they promise to hide."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from xlstmd.errors import ConfigError
from xlstmd.train.policy.environments import ENVIRONMENTS, environment
from xlstmd.train.policy.no_velocity import VISIBLE, NoVelocity, make_no_velocity
from xlstmd.train.policy.recipes import RECIPES, architecture
from xlstmd.train.policy.t_maze import BACK, LEFT, ONWARD, RIGHT, TMaze


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_spaces_are_those_of_the_contract(name):
    spec = environment(name)
    environments = spec.make(3)
    space, action = environments.single_observation_space, environments.single_action_space
    contract = spec.contract
    if isinstance(space, Discrete):
        assert [len(entry.choices) for entry in contract.observations] == [space.n]
    else:
        assert isinstance(space, Box)
        np.testing.assert_allclose([entry.low for entry in contract.observations], space.low)
        np.testing.assert_allclose([entry.high for entry in contract.observations], space.high)
    if isinstance(action, Discrete):
        assert [len(entry.choices) for entry in contract.actions] == [action.n]
    else:
        np.testing.assert_allclose([entry.low for entry in contract.actions], action.low)
        np.testing.assert_allclose([entry.high for entry in contract.actions], action.high)
    environments.close()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_an_architecture(name):
    assert architecture(name).num_observations == len(environment(name).contract.observations)


def test_an_unknown_environment_is_named():
    with pytest.raises(ConfigError, match=r"env: expected one of .*, got nowhere"):
        environment("nowhere")


@pytest.mark.parametrize("name", VISIBLE)
def test_velocities_are_hidden_and_the_rest_is_there(name):
    full = gymnasium.make(name)
    masked = NoVelocity(gymnasium.make(name), VISIBLE[name])
    short = make_no_velocity(name, 1)
    seen, _ = full.reset(seed=4)
    hidden, _ = masked.reset(seed=4)
    kept, _ = short.reset(seed=4)
    full.action_space.seed(0)
    for _ in range(20):
        places = list(VISIBLE[name])
        np.testing.assert_array_equal(hidden[places], seen[places])
        np.testing.assert_array_equal(np.delete(hidden, places), 0.0)
        np.testing.assert_array_equal(kept[0], seen[places])
        action = full.action_space.sample()
        seen, reward, *ends, _ = full.step(action)
        hidden, masked_reward, *_ = masked.step(action)
        kept, rewards, *_ = short.step(np.array([action]))
        assert reward == masked_reward == rewards[0]
        if any(ends):
            break
    for environments in (full, masked, short):
        environments.close()


def walk(maze, actions, seed=0):
    """Walks one episode; gives all rewards, and the signs."""
    first, _ = maze.reset(seed=seed)
    rewards = []
    for action in actions:
        chosen = np.broadcast_to(action, maze.num_envs)
        _, reward, terminated, *_ = maze.step(chosen)
        rewards.append(reward)
    assert terminated.all()
    return np.array(rewards), first[:, 0]


def test_the_sign_says_where_to_turn_and_nothing_else_does():
    maze = TMaze(40, length=6)
    rewards, signs = walk(maze, [ONWARD] * 6 + [LEFT])
    np.testing.assert_array_equal(rewards.sum(axis=0), signs < 0)
    rewards, signs = walk(maze, [ONWARD] * 6 + [RIGHT])
    np.testing.assert_array_equal(rewards.sum(axis=0), signs > 0)
    assert set(signs) == {-1.0, 1.0}
    observations, _ = maze.reset(seed=1)
    for step in range(6):
        observations, *_ = maze.step(np.full(40, ONWARD))
        assert not observations[:, 0].any()
        assert (observations[:, 1] == (step == 5)).all()


def test_who_dawdles_pays_and_comes_too_late():
    rewards, _ = walk(TMaze(5, length=4), [BACK, ONWARD, ONWARD, ONWARD, LEFT])
    np.testing.assert_allclose(rewards[:-1], -0.25)
    assert not rewards[-1].any()
