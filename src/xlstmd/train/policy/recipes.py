"""The recipes of the shipped policies, by environment."""

from dataclasses import replace
from typing import Final

from xlstmd.errors import ConfigError
from xlstmd.models.policy_config import ContinuousHead, DiscreteHead, PolicyConfig, small_policy
from xlstmd.train.policy.environments import environment
from xlstmd.train.policy.ppo_config import PPOConfig

_CARD_GAME: Final = PPOConfig(
    total_steps=1_000_000,
    num_envs=32,
    rollout_steps=102,
    segment=51,
    epochs=4,
    batch_segments=16,
    discount=0.9,
    decay=0.9,
    entropy=0.05,
)

RECIPES: Final[dict[str, PPOConfig]] = {
    "cartpole-no-velocity": PPOConfig(
        total_steps=100_000,
        num_envs=8,
        rollout_steps=128,
        segment=128,
        epochs=10,
        batch_segments=4,
        discount=0.98,
        decay=0.9,
        trial_episodes=20,
    ),
    "pendulum-no-velocity": PPOConfig(
        total_steps=200_000,
        num_envs=8,
        rollout_steps=256,
        segment=64,
        epochs=10,
        batch_segments=16,
        learning_rate=3e-4,
        discount=0.95,
        decay=0.95,
        clip=0.1,
        log_std=0.0,
    ),
    "mountain-car-continuous-no-velocity": PPOConfig(
        total_steps=100_000,
        num_envs=8,
        rollout_steps=512,
        segment=128,
        epochs=10,
        batch_segments=8,
        discount=0.999,
        decay=0.95,
        log_std=0.0,
        noise_memory=0.95,
    ),
    "repeat-previous-easy": _CARD_GAME,
    "repeat-first-easy": replace(_CARD_GAME, total_steps=500_000),
    # Without noise the sign is remembered for 50 steps and not many more: only noise teaches that
    # what the corridor adds to the memory, step by step, has to be kept out of it.
    "t-maze-50": PPOConfig(
        total_steps=800_000,
        num_envs=64,
        rollout_steps=51,
        segment=51,
        epochs=4,
        batch_segments=16,
        discount=0.99,
        decay=0.95,
        entropy=0.01,
        input_noise=2.0,
        forget_bias=10.0,
    ),
}


def recipe(name: str) -> PPOConfig:
    """Gives how a policy of an environment learns.

    Raises:
      ConfigError: there is no recipe for it.
    """
    if name not in RECIPES:
        raise ConfigError(f"env: expected one of {', '.join(RECIPES)}, got {name}")
    return RECIPES[name]


def architecture(name: str) -> PolicyConfig:
    """Gives the shape of a policy of an environment."""
    contract = environment(name).contract
    choices = tuple(len(entry.choices) for entry in contract.observations)
    actions = [len(entry.choices) for entry in contract.actions]
    if any(actions):
        return small_policy(choices, DiscreteHead(num_choices=actions[0]))
    return small_policy(choices, ContinuousHead(size=len(actions)))
