"""Policies with random weights, one for each kind of observation and action."""

import numpy as np

from xlstmd.models.observation_statistics import ObservationStatistics
from xlstmd.models.policy import Policy
from xlstmd.models.policy_checkpoint import PolicyCheckpoint
from xlstmd.models.policy_config import ContinuousHead, DiscreteHead, small_policy
from xlstmd.models.policy_contract import ActionField, ObservationField, PolicyContract
from xlstmd.models.policy_runtime import make_policy_runtime, policy_shapes

SUITS = ("a", "b", "c")
QUANTITIES = (ObservationField(name="place", unit="m"), ObservationField(name="angle", low=-1.0))
CARDS = (QUANTITIES[0], ObservationField(name="suit", low=0, high=2, choices=SUITS))
FORCES = (
    ActionField(name="force", unit="N", low=-2.0, high=3.0, max_rate=10.0),
    ActionField(name="valve", low=0.0, high=1.0),
)
CHOICE = (ActionField(name="move", low=0, high=2, choices=SUITS),)
KINDS = {
    "discrete": (CARDS, CHOICE, DiscreteHead(num_choices=3)),
    "clipped": (QUANTITIES, FORCES, ContinuousHead(size=2, squash="clip")),
    "squashed": (CARDS, FORCES, ContinuousHead(size=2, squash="tanh")),
}


def make_contract(observations=QUANTITIES, actions=FORCES, **more):
    """Gives a contract of a loop of 20 ms."""
    times = {"step_ms": 20.0, "deadline_ms": 20.0, "valid_for_ms": 40.0}
    return PolicyContract(observations=observations, actions=actions, **(times | more))


def random_weights(config, seed=0):
    """Gives weights that are all random."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in policy_shapes(config).items():
        mean = 1.0 if "norm" in name else 0.0
        scale = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        weights[name] = (mean + scale * rng.normal(size=shape)).astype(np.float32)
    return weights


def random_policy_checkpoint(kind="discrete", seed=0):
    """Gives a checkpoint of such weights."""
    observations, actions, head = KINDS[kind]
    choices = tuple(len(entry.choices) for entry in observations)
    config = small_policy(choices, head, width=32)
    return PolicyCheckpoint(
        name=kind,
        version="1",
        config=config,
        contract=make_contract(observations, actions),
        statistics=ObservationStatistics.empty(2).updated(draw_observations(kind, 50, 1)[:, 0]),
        weights=random_weights(config, seed),
        training={"environment": "nowhere", "seed": seed},
    )


def random_policy(kind="discrete", seed=0, runtime=None):
    """Gives such a policy."""
    checkpoint = random_policy_checkpoint(kind, seed)
    made = make_policy_runtime(checkpoint.config, checkpoint.weights, runtime)
    return Policy(checkpoint, made)


def draw_observations(kind, rows, steps, seed=3):
    """Gives observations [B, T, 2] for a policy."""
    rng = np.random.default_rng(seed)
    observations = rng.normal(2.0, 3.0, size=(rows, steps, 2))
    if KINDS[kind][0][1].choices:
        observations[..., 1] = rng.integers(0, len(SUITS), size=(rows, steps))
    return observations
