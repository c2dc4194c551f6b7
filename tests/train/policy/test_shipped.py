"""The shipped policies still do what their cards say; few episodes, the cards have many."""

import pytest

from xlstmd.models.policy import load_policy
from xlstmd.models.policy_checkpoint import shipped_policies
from xlstmd.train.policy.environments import environment
from xlstmd.train.policy.evaluation import evaluate_policy

# Episodes, and what their mean return must reach; single starts of the pendulum cost up to 600.
LEAST = {
    "cartpole-no-velocity": (5, 500.0),
    "mountain-car-continuous-no-velocity": (5, 91.5),
    "pendulum-no-velocity": (60, -190.0),
    "repeat-first-easy": (50, 0.99),
    "repeat-previous-easy": (50, 0.99),
    "t-maze-50": (50, 1.0),
}


@pytest.mark.parametrize("name", sorted(shipped_policies()))
def test_a_shipped_policy_does_what_its_card_says(name):
    episodes, least = LEAST[name]
    policy = load_policy(name)
    found = evaluate_policy(policy, environment(name), episodes)
    assert found.mean >= least
    # What training saw last is the measure of what is unusual.
    assert policy.checkpoint.statistics.farthest < 20.0
