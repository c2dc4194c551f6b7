"""What is told about this installation."""

import json
from ctypes import CDLL

import pytest

from tests.small_models import random_checkpoint, random_forecaster
from tests.small_policies import random_policy_checkpoint
from xlstmd.cli import info
from xlstmd.models import checkpoint, policy_checkpoint
from xlstmd.ops.native import NativeLibrary
from xlstmd.server.settings import Settings

V2 = frozenset(info.LEVELS[0][1])
V3 = V2 | info.LEVELS[1][1]
V4 = V3 | info.LEVELS[2][1]


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Ships one tiny forecaster, and no policy."""
    folder = tmp_path / "weights" / "tiny"
    checkpoint.save(random_checkpoint(), folder)
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(policy_checkpoint, "WEIGHTS", tmp_path / "policies")
    return folder


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (frozenset(), "x86-64"),
        (V2, "x86-64-v2"),
        (V3, "x86-64-v3"),
        (V3 - {"ssse3"}, "x86-64"),
        (V4, "x86-64-v4"),
        (V4 | {"avx512_vnni", "avx512_bf16"}, "x86-64-v4 + avx512_bf16 + avx512_vnni"),
    ],
)
def test_the_instruction_level_is_the_highest_complete_one(flags, level):
    assert info.instruction_level(flags, "x86_64") == level


def test_other_machines_are_their_own_level():
    assert info.instruction_level(frozenset(), "aarch64") == "aarch64"


def test_info_can_be_read_by_programs(cli, shipped):
    facts = json.loads(cli("info", "--json").out)
    assert facts["models"] == {"tiny": "tiny@1"}
    slot_bytes = random_forecaster().slot_bytes
    slots = Settings().session_bytes // slot_bytes
    assert facts["sessions"] == {"tiny": {"slot_bytes": slot_bytes, "slots": slots}}
    assert facts["runtimes refused"] == {}
    assert set(facts["packages"]) == set(info.PACKAGES)


def test_a_runtime_that_cannot_run_says_why(cli, shipped, monkeypatch):
    monkeypatch.setattr(info.runtime, "refusals", lambda *_: {"torch": "needs x[torch]"})
    assert "torch: needs x[torch]" in cli("info").out


@pytest.mark.parametrize(
    ("own", "built_for", "told"),
    [
        ("x86-64-v4", "x86-64-v4", "x86-64-v4"),
        ("x86-64-v4", "x86-64-v2", "x86-64-v2, on a processor of level x86-64-v4"),
    ],
)
def test_the_level_of_the_native_library_is_told(own, built_for, told):
    native = NativeLibrary(library=CDLL(None), instruction_level=own, built_for=built_for)
    assert info.native_library(native) == told


def test_a_native_library_that_is_absent_says_why(cli, shipped, monkeypatch):
    monkeypatch.setattr(info, "load_native", lambda: NativeLibrary(library=None, reason="broken"))
    assert json.loads(cli("info", "--json").out)["native library"] == "absent: broken"


def test_info_is_a_table(cli, shipped):
    ended = cli("info")
    assert ended.code == 0
    assert "tiny@1" in ended.out
    assert "tiny: slot_bytes" in ended.out


def test_models_are_listed(cli, shipped):
    ended = cli("models")
    assert ended.code == 0
    assert "tiny@1" in ended.out
    assert "forecaster" in ended.out


def test_models_can_be_read_by_programs(cli, shipped):
    (model,) = json.loads(cli("models", "--json").out)
    assert model["model"] == "tiny@1"
    assert model["path"] == str(shipped)
    assert model["parameters"] > 1000
    assert model["bytes"] == sum(path.stat().st_size for path in shipped.iterdir())


def test_policies_are_listed_too(cli, shipped):
    folder = shipped.parents[1] / "policies" / "squashed"
    policy_checkpoint.save_policy(random_policy_checkpoint("squashed"), folder)
    forecaster, policy = json.loads(cli("models", "--json").out)
    assert (forecaster["kind"], policy["kind"]) == ("forecaster", "policy")
    assert policy["actions"] == ["force", "valve"]
    assert "squashed@1" in cli("models").out
    assert json.loads(cli("info", "--json").out)["policies"] == {"squashed": "squashed@1"}


def test_a_damaged_model_is_4(cli, shipped):
    weights = shipped / checkpoint.WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-1])
    ended = cli("models")
    assert ended.code == 4
    assert "damaged" in ended.err


def test_no_models_are_said(cli, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path)
    monkeypatch.setattr(policy_checkpoint, "WEIGHTS", tmp_path)
    assert cli("models").out == "no model ships with this installation\n"
