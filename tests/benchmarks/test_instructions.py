"""Instruction counts: what is read from callgrind, and how figures are compared."""

import json

import pytest

from benchmarks import instructions
from benchmarks.harness import EXIT_COULD_NOT_RUN, BenchmarkError, Row


def row(value):
    return Row(id="v3/exp", value=value, unit="instructions", better="lower")


@pytest.mark.parametrize("word", ["summary", "totals"])
def test_the_count_is_read_from_the_profile(word):
    assert instructions.total("exp", f"version: 1\nfn=(1) main\n1 200\n{word}: 12345\n") == 12345


@pytest.mark.parametrize("profile", ["", "summary: 0\n"])
def test_nothing_counted_is_an_error(profile):
    with pytest.raises(BenchmarkError, match="exp: expected a number of instructions, got none"):
        instructions.total("exp", profile)


def test_figures_are_shown_beside_the_stored_ones():
    (shown,) = (tuple(column.cells) for column in instructions.table([row(150)], {}).columns[3:])
    assert shown == ("",)
    cells = [
        tuple(column.cells) for column in instructions.table([row(150)], {"v3/exp": 100}).columns
    ]
    assert cells == [("v3/exp",), ("150",), ("100",), ("1.500",)]


def test_stored_figures_are_read(tmp_path):
    file = tmp_path / "instructions.json"
    assert instructions.stored(file) == {}
    file.write_text(json.dumps({"rows": [{"id": "v3/exp", "value": 7}]}), encoding="utf-8")
    assert instructions.stored(file) == {"v3/exp": 7}


def test_without_a_driver_nothing_is_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(instructions, "FILE", tmp_path / "instructions.json")
    assert instructions.main(tmp_path / "driver") == EXIT_COULD_NOT_RUN
    assert "cannot be run" in capsys.readouterr().err
    assert not (tmp_path / "instructions.json").exists()
