"""What others may rely on: names, errors, imports, and how quickly they come."""

import ast
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import xlstmd
from xlstmd.errors import XlstmdError
from xlstmd.ops.native import load_native
from xlstmd.server.problems import TABLE, TITLES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {entry["name"]: entry for entry in PROJECT["tool"]["importlinter"]["contracts"]}
TORCH_FREE = CONTRACTS["no torch where serving starts"]["source_modules"]

# What a daemon or a command line must not pay for before somebody asks for it.
HEAVY = ("torch", "jaxtyping", "matplotlib", "pandas", "polars")

# Largest sizes, in lines, that keep a file one noun and a function one thought.
FILE_LINES = 400
FUNCTION_LINES = 40


def test_public_names():
    assert xlstmd.__all__ == [
        "ForecastStream", "Forecaster", "Policy", "PolicyEpisodes", "QuantileForecast",
        "__version__", "load_forecaster", "load_policy",
    ]  # fmt: skip
    for name in xlstmd.__all__:
        assert getattr(xlstmd, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xlstmd.nothing


def subclasses(error):
    for child in error.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_has_a_status():
    for error in subclasses(XlstmdError):
        if error.__module__.startswith("xlstmd."):
            assert any(base in TABLE for base in error.__mro__), error


def test_every_status_has_a_title():
    assert {status for status, _ in TABLE.values()} <= TITLES.keys()


def test_the_drawn_error_tree_is_complete():
    drawn = xlstmd.errors.__doc__
    for error in subclasses(XlstmdError):
        if error.__module__ == "xlstmd.errors":
            assert f"─ {error.__name__}" in drawn


@pytest.mark.parametrize("start", ["xlstmd", "xlstmd.cli.serve", "xlstmd.server.app"])
def test_start_brings_nothing_heavy(start):
    assert heavy_after([start]) == {}


def test_what_a_contract_keeps_from_torch_is_torch_free_when_run():
    assert heavy_after(TORCH_FREE) == {}


def test_version_is_that_of_the_project():
    assert xlstmd.__version__ == PROJECT["project"]["version"]


def test_package_is_typed():
    assert (ROOT / "src" / "xlstmd" / "py.typed").is_file()


def heavy_after(modules):
    """Imports modules one by one in a fresh process; gives what heavy packages came with which."""
    code = (
        "import importlib, json, sys\n"
        "found = {}\n"
        f"for name in {list(modules)!r}:\n"
        "    importlib.import_module(name)\n"
        f"    for heavy in {HEAVY!r}:\n"
        "        if heavy in sys.modules: found.setdefault(heavy, name)\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_native_library_is_there_or_says_why_not():
    native = load_native()
    if native.library is None:
        assert native.reason
        # An installation may lack it only for want of a compiler: a broken build must not hide.
        assert shutil.which("c++") is None, native.reason
    else:
        assert native.instruction_level


def test_import_contracts_hold():
    command = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_files_and_functions_stay_short():
    long = []
    for path in sorted((ROOT / "src").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if len(lines) > FILE_LINES:
            long.append(f"{path.name}: {len(lines)} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = code_lines(node, lines)
                if count > FUNCTION_LINES:
                    long.append(f"{path.name}: {node.name} has {count} lines")
    assert not long


def code_lines(function, lines):
    """Counts the lines of code in a function's body: no docstring, no comments, no signature."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    if not body:
        return 0
    code = (line.strip() for line in lines[body[0].lineno - 1 : body[-1].end_lineno])
    return sum(bool(line) and not line.startswith("#") for line in code)
