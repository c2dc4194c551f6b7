"""What the recipe is told."""

import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def trained(monkeypatch):
    """Puts a recipe that only notes its arguments in the place of the real one."""
    calls = []
    recipe = ModuleType("xlstmd.train.recipe")
    recipe.train_forecaster = lambda *parts, **named: calls.append((parts, named))
    monkeypatch.setitem(sys.modules, "xlstmd.train.recipe", recipe)
    monkeypatch.delenv("XLSTMD_DATA", raising=False)
    return calls


def test_the_defaults_are_told(cli, trained):
    assert cli("train", "forecaster", "--preset", "tiny").code == 0
    named = {"seed": 0, "minutes": 30.0, "resume": True, "data_root": None}
    named |= {"threads": 1, "pool": None, "products": "float32"}
    assert trained == [(("tiny", Path("runs/tiny")), named)]


def test_options_are_told(cli, trained, monkeypatch):
    monkeypatch.setenv("XLSTMD_DATA", "elsewhere")
    options = ("--output", "run", "--seed", 3, "--minutes", 0.5, "--restart", "--threads", 2)
    more = ("--pool", "pool", "--products", "bfloat16")
    cli("train", "forecaster", "--preset", "small", *options, *more)
    named = {"seed": 3, "minutes": 0.5, "resume": False, "data_root": Path("elsewhere")}
    named |= {"threads": 2, "pool": Path("pool"), "products": "bfloat16"}
    assert trained == [(("small", Path("run")), named)]


@pytest.fixture
def trained_policies(monkeypatch):
    """Puts a recipe that only notes its arguments in the place of policies' real one."""
    pytest.importorskip("gymnasium")
    calls = []
    recipe = ModuleType("xlstmd.train.policy.run")
    recipe.train_policy = lambda *parts, **named: calls.append((parts, named))
    monkeypatch.setitem(sys.modules, "xlstmd.train.policy.run", recipe)
    return calls


def test_options_of_a_policy_are_told(cli, trained_policies):
    assert cli("train", "policy", "--env", "t-maze-50").code == 0
    options = ("--output", "run", "--seed", 3, "--steps", 500, "--restart", "--threads", 2)
    assert cli("train", "policy", "--env", "cartpole-no-velocity", *options).code == 0
    named = {"seed": 0, "steps": None, "resume": True, "threads": 1}
    assert trained_policies[0] == (("t-maze-50", Path("runs/t-maze-50-0")), named)
    named = {"seed": 3, "steps": 500, "resume": False, "threads": 2}
    assert trained_policies[1] == (("cartpole-no-velocity", Path("run")), named)
