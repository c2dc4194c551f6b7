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
