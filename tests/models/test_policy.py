"""Contracts, statistics and packages of policies."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.small_policies import (
    CHOICE,
    FORCES,
    KINDS,
    draw_observations,
    make_contract,
    random_policy,
    random_policy_checkpoint,
)
from xlstmd.errors import CheckpointError, ConfigError, InputError
from xlstmd.models import checkpoint as forecasters
from xlstmd.models.observation_statistics import (
    ObservationDistances,
    ObservationEncoder,
    ObservationStatistics,
)
from xlstmd.models.policy import load_policy
from xlstmd.models.policy_checkpoint import find_policy, save_policy, shipped_policies
from xlstmd.models.policy_config import DiscreteHead, PolicyConfig, small_policy
from xlstmd.models.policy_contract import ActionField, ObservationField, PolicyContract


def test_a_contract_survives_json():
    contract = make_contract(
        fallback="open", named_actions={"open": (0.0, 1.0)}, max_age_ms=40.0, on_deadline="error"
    )
    assert PolicyContract.from_dict(json.loads(json.dumps(contract.to_dict()))) == contract


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_survives_json(kind):
    config = random_policy_checkpoint(kind).config
    assert PolicyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fallback": "stop"}, "fallback: expected one of hold, zero, got stop"),
        ({"named_actions": {"stop": (9.0, 0.0)}}, "named_actions.stop: expected 2 numbers within"),
        ({"named_actions": {"stop": (0.0,)}}, "named_actions.stop: expected 2 numbers within"),
        ({"actions": (ActionField(name="a", low=1.0, high=2.0),)}, "named_actions.zero"),
        ({"actions": (FORCES[0], FORCES[0])}, "actions: expected one or more of different names"),
        ({"deadline_ms": 0.0}, "deadline_ms: expected a number above 0"),
        ({"max_age_ms": -1.0}, "max_age_ms: expected a number above 0"),
        ({"on_deadline": "ignore"}, "on_deadline: expected fallback or error"),
    ],
)
def test_contracts_that_cannot_be_kept_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        make_contract(**change)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ActionField(name="a", low=1.0, high=1.0), "low below high"),
        (lambda: ActionField(name="a", low=0.0, high=np.inf), "a.high: expected a finite number"),
        (lambda: ActionField(name="a", low=0.0, high=1.0, max_rate=0.0), "max_rate"),
        (lambda: ObservationField(name="o", choices=("x", "y")), "bounds 0 and 1 of 2 choices"),
        (lambda: DiscreteHead(num_choices=1), "num_choices: expected 2 or more"),
        (lambda: small_policy((1,), DiscreteHead(num_choices=2)), "observation_choices"),
    ],
)
def test_fields_that_cannot_be_meant_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_fallbacks():
    last = np.array([9.0, 0.5])
    np.testing.assert_array_equal(make_contract().fallback_action(last), [3.0, 0.5])
    np.testing.assert_array_equal(make_contract().fallback_action(None), [0.0, 0.0])
    np.testing.assert_array_equal(make_contract(fallback="zero").fallback_action(last), [0.0, 0.0])
    named = make_contract(fallback="open", named_actions={"open": (-2.0, 1.0)})
    np.testing.assert_array_equal(named.fallback_action(last), [-2.0, 1.0])


def test_rates_are_limited_by_the_time_since_the_last_action():
    contract, last = make_contract(), np.array([0.0, 0.0])
    wanted = np.array([3.0, 1.0])
    np.testing.assert_allclose(contract.rate_limited(wanted, last, 0.01), [0.1, 1.0])
    # A pause is no leave for a jump.
    np.testing.assert_allclose(contract.rate_limited(wanted, last, 100.0), [0.2, 1.0])
    np.testing.assert_allclose(contract.rate_limited(-wanted, last, 0.02), [-0.2, -1.0])


def test_statistics_are_those_of_all_observations_together():
    rng = np.random.default_rng(0)
    observations = rng.normal([3.0, -1.0, 0.0], [2.0, 0.1, 5.0], size=(1000, 3))
    observations[:, 2] += observations[:, 0]
    statistics = ObservationStatistics.empty(3)
    for part in np.split(observations, [1, 7, 300, 301]):
        statistics = statistics.updated(part)
    assert statistics.count == 1000
    np.testing.assert_allclose(statistics.mean, observations.mean(0))
    np.testing.assert_allclose(statistics.covariance, np.cov(observations.T, bias=True))
    np.testing.assert_array_equal(statistics.lowest, observations.min(0))
    np.testing.assert_array_equal(statistics.highest, observations.max(0))
    again = ObservationStatistics.from_dict(json.loads(json.dumps(statistics.to_dict())))
    np.testing.assert_array_equal(again.covariance, statistics.covariance)


def test_distances_are_those_of_mahalanobis():
    rng = np.random.default_rng(1)
    observations = rng.normal([3.0, -1.0, 0.0], [2.0, 0.1, 5.0], size=(1000, 3))
    observations[:, 2] += observations[:, 0]
    statistics = ObservationStatistics.empty(3).updated(observations)
    distances = ObservationDistances(statistics)
    centered = observations - observations.mean(0)
    precision = np.linalg.inv(np.cov(observations.T, bias=True))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centered, precision, centered) / 3)
    np.testing.assert_allclose(distances(observations), expected, rtol=2e-2)
    assert statistics.farthest == distances(observations).max()
    assert distances(np.array([3.0, 0.0, 30.0])) > statistics.farthest


def test_inputs_are_normalized_or_one_hot():
    statistics = ObservationStatistics.empty(3).updated(np.array([[1.0, 0, 5.0], [3.0, 0, 5.0]]))
    encode = ObservationEncoder((0, 3, 0), statistics)
    inputs = encode(np.array([[3.0, 2.0, 5.0], [1e30, 0.0, 5.0], [2.0, 99.0, 5.0]]))
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(
        inputs, [[1, 0, 0, 1, 0], [10, 1, 0, 0, 0], [0, 0, 0, 1, 0]], atol=1e-6
    )


def test_parts_of_a_package_must_agree():
    checkpoint = random_policy_checkpoint("clipped")
    with pytest.raises(ConfigError, match=r"contract.actions: expected choices \[0, 0\]"):
        replace(checkpoint, contract=make_contract(actions=CHOICE))
    with pytest.raises(ConfigError, match="statistics: expected 2 numbers, got 3"):
        replace(checkpoint, statistics=ObservationStatistics.empty(3))


def test_a_damaged_package_is_refused(tmp_path):
    save_policy(random_policy_checkpoint(), tmp_path)
    path = tmp_path / "config.json"
    facts = json.loads(path.read_text())
    for change, message in (
        ({"kind": "forecaster"}, "expected a policy, got forecaster"),
        ({"contract": facts["contract"] | {"deadlin_ms": 1}}, "did you mean deadline_ms"),
        ({"statistics": {}}, "complete policy"),
        ({"sha256": "0"}, "damaged or exchanged"),
    ):
        path.write_text(json.dumps(facts | change))
        with pytest.raises(CheckpointError, match=message):
            load_policy(tmp_path)


def test_policies_and_forecasters_do_not_mix():
    assert not set(shipped_policies()) & set(forecasters.shipped())
    with pytest.raises(CheckpointError, match="policy: expected one of"):
        find_policy("small")


def test_rows_and_shapes_are_checked():
    play = random_policy("clipped").episodes(2)
    with pytest.raises(InputError, match="observations"):
        play.act(np.zeros((2, 3)))
    with pytest.raises(InputError, match="at most 2 rows"):
        play.act(np.zeros((3, 2)))
    with pytest.raises(InputError):
        play.act(np.zeros((1, 2)), source=[2])


def test_what_a_policy_says_of_itself_is_json():
    policy = random_policy("clipped")
    facts = json.loads(json.dumps(policy.describe()))
    assert facts["state_bytes"] == policy.slot_bytes == policy.episodes().arena.nbytes
    assert facts["contract"]["actions"][0]["unit"] == "N"
    assert policy.fingerprint != random_policy("squashed").fingerprint
    assert len(policy.replay(draw_observations("clipped", 3, 4))) == 3


@pytest.mark.parametrize("name", sorted(shipped_policies()))
def test_shipped_policies_load_and_say_what_they_are(name):
    policy = load_policy(name)
    assert policy.name == name
    assert policy.checkpoint.training["seed"] is not None
    assert (shipped_policies()[name] / "README.md").is_file()
    size = len(policy.contract.observations)
    action = policy.episodes().act(np.zeros((1, size)))
    assert action.shape == (1, len(policy.contract.actions))
