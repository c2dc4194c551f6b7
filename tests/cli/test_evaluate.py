"""What is told about the score of a policy."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from tests.small_policies import random_policy_checkpoint, random_weights
from xlstmd.models.observation_statistics import ObservationStatistics
from xlstmd.models.policy_checkpoint import save_policy
from xlstmd.models.policy_config import DiscreteHead, small_policy
from xlstmd.train.policy.environments import environment


@pytest.fixture
def folder(tmp_path):
    """Saves a policy for a T-maze whose weights are random."""
    config = small_policy((0, 0), DiscreteHead(num_choices=4), width=32)
    checkpoint = replace(
        random_policy_checkpoint(),
        config=config,
        contract=environment("t-maze-50").contract,
        statistics=ObservationStatistics.empty(2).updated(np.eye(2)),
        weights=random_weights(config),
        training={"environment": "t-maze-50", "seed": 0},
    )
    save_policy(checkpoint, tmp_path / "model")
    return tmp_path / "model"


def test_a_score_can_be_read_by_programs(cli, folder):
    facts = json.loads(cli("evaluate", "policy", folder, "--episodes", 20, "--json").out)
    assert facts["environment"] == "t-maze-50"
    assert facts["episodes"] == 20
    assert facts["least"] <= facts["mean"] <= facts["largest"]
    again = json.loads(cli("evaluate", "policy", folder, "--episodes", 20, "--json").out)
    assert again["mean"] == facts["mean"]


def test_a_score_is_a_table(cli, folder):
    ended = cli("evaluate", "policy", folder, "--episodes", 5, "--env", "t-maze-250")
    assert ended.code == 0
    assert "t-maze-250" in ended.out


@pytest.mark.parametrize("name", ["nowhere", "pendulum-no-velocity"])
def test_another_environment_is_refused(cli, folder, name):
    ended = cli("evaluate", "policy", folder, "--env", name)
    assert ended.code == 2
    assert "--env: expected one" in ended.err


def test_no_policy_is_4(cli):
    assert cli("evaluate", "policy", "nothing-like-it").code == 4
