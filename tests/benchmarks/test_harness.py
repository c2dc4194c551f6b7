"""The form of result files, and what may not become a figure."""

import json
import math
import re
import socket
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.harness import (
    ROOT,
    BenchmarkError,
    Row,
    number,
    report,
    rows_table,
    write_report,
)

FIELDS = {
    "id": str,
    "value": float,
    "unit": str,
    "better": str,
    "goal": float,
    "ours": float,
    "peer": float,
    "peer_name": str,
    "spread": list,
    "parity": float,
    "tolerance": float,
}

FULL = Row(
    id="step-b1-fp32",
    value=37.5,
    unit="ratio",
    better="higher",
    goal=40.0,
    ours=7.6,
    peer=285.0,
    peer_name="peer 1.4.2",
    spread=(35.1, 39.0),
    parity=3e-6,
    tolerance=1e-5,
)
SHORT = Row(id="start", value=12.0, unit="ms", better="lower", goal=20.0)


def test_a_file_has_machine_commit_date_and_rows_of_all_fields(tmp_path):
    path = write_report([FULL, SHORT], tmp_path / "made" / "speed.json")
    read = json.loads(path.read_text())
    assert list(read) == ["machine", "commit", "date", "rows"]
    assert [list(row) for row in read["rows"]] == [list(FIELDS)] * 2
    assert {name: type(value) for name, value in read["rows"][0].items()} == FIELDS
    assert read["rows"][1]["peer"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", read["date"])
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|uncommitted", read["commit"])


def test_the_machine_is_described_and_not_named():
    described = report([SHORT])["machine"]
    assert {"cpu", "cores", "memory_gib", "os", "python", "numpy", "torch"} <= set(described)
    assert described["cores"] >= 1
    assert described["memory_gib"] > 0
    text = json.dumps(described)
    assert socket.gethostname() not in text
    assert str(ROOT) not in text


def test_writing_again_replaces_the_file_whole(tmp_path):
    path = tmp_path / "speed.json"
    write_report([FULL, SHORT], path)
    write_report([SHORT], path)
    assert len(json.loads(path.read_text())["rows"]) == 1
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("parity", [1.1e-5, math.inf, math.nan])
def test_no_figure_without_parity(parity):
    with pytest.raises(BenchmarkError, match="expected the peer's result within 1e-05"):
        Row(id="x", value=1.0, unit="ratio", better="higher", parity=parity, tolerance=1e-5)


def test_parity_needs_a_tolerance():
    with pytest.raises(BenchmarkError, match="within None"):
        Row(id="x", value=1.0, unit="ratio", better="higher", parity=0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_is_finite(value):
    with pytest.raises(BenchmarkError, match="x: expected a finite figure"):
        Row(id="x", value=value, unit="ms", better="lower")


def test_ids_are_unique():
    with pytest.raises(BenchmarkError, match="unique ids, got start"):
        report([SHORT, SHORT])


def test_goals_are_read_by_what_is_better():
    assert FULL.reached is False
    assert SHORT.reached is True
    assert Row(id="x", value=1.0, unit="ms", better="lower").reached is None


def test_the_table_shows_every_row():
    out = StringIO()
    Console(file=out, width=160).print(rows_table([FULL, SHORT], "Speed"))
    lines = out.getvalue().splitlines()
    for expected in ("step-b1-fp32", "35.10 … 39.00", "≥ 40", "peer 1.4.2", "start", "≤ 20"):
        assert any(expected in line for line in lines)
    assert len({len(line) for line in lines if line.startswith(("┃", "│"))}) == 1


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (0.0, "0.000"),
        (37.5, "37.50"),
        (0.01234, "0.01234"),
        (1234.5, "1234"),
        (2e7, "2e+07"),
    ],
)
def test_numbers_keep_four_digits(value, written):
    assert number(value) == written
