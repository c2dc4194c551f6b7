"""`xlstmd serve` with policies: which models it loads, and from where."""

import pytest

from tests.small_policies import random_policy_checkpoint
from xlstmd.cli.serve import sources_of
from xlstmd.engine.model_facts import facts_of
from xlstmd.errors import CheckpointError
from xlstmd.models.policy_checkpoint import save_policy
from xlstmd.server.settings import Settings


def test_policies_come_after_the_forecaster(tmp_path):
    checkpoint = save_policy(random_policy_checkpoint("discrete"), tmp_path)
    forecaster, policy = sources_of(Settings(policies=(str(tmp_path),)))
    assert forecaster.loader.endswith("load_forecaster")
    facts = facts_of(policy.load())
    assert (facts.name, facts.description["sha256"]) == ("discrete", checkpoint.sha256)
    assert facts.guards["contract"] == checkpoint.contract.to_dict()
    assert facts.slot_bytes == facts.description["state_bytes"]


def test_without_the_setting_there_are_none():
    assert len(sources_of(Settings())) == 1


def test_variables_name_several():
    settings = Settings.from_sources(environment={"XLSTMD_POLICIES": "one, two"})
    assert settings.policies == ("one", "two")


def test_one_that_is_not_there_is_told():
    _, policy = sources_of(Settings(policies=("nobody",)))
    with pytest.raises(CheckpointError, match="nobody"):
        policy.load()
