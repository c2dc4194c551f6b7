"""How the command line starts and how it ends."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xlstmd.cli import forecast as forecast_command
from xlstmd.cli import main
from xlstmd.cli.options import build_parser
from xlstmd.errors import CheckpointError, InputError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "numpy", "pandas", "pyarrow", "litestar", "uvicorn", "rich", "matplotlib")
COMMANDS = ("serve", "forecast", "info", "models", "train", "evaluate")


def in_process(code):
    """Runs code in a Python of its own and gives its output."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True
    ).stdout


def options_of(parser):
    """Gives all option strings of a parser and the commands below it."""
    found = {}
    for action in parser._actions:
        if action.choices and hasattr(action.choices, "items"):
            for name, command in action.choices.items():
                below = options_of(command)
                found |= {f"{name} {path}".strip(): strings for path, strings in below.items()}
    texts = (text for action in parser._actions for text in action.option_strings)
    own = sorted(text.removeprefix("--") for text in texts if text.startswith("--"))
    return found | {"": " ".join(own)}


class TestStart:
    @pytest.mark.parametrize("argument", ["--help", "--version"])
    def test_nothing_heavy_is_imported(self, argument):
        code = (
            "import sys, json\n"
            "from xlstmd.cli import main\n"
            f"code = main([{argument!r}])\n"
            "sys.stdout.write('\\n' + json.dumps([code, sorted(sys.modules)]))"
        )
        code, modules = json.loads(in_process(code).splitlines()[-1])
        assert code == 0
        assert set(HEAVY).isdisjoint(modules)

    def test_help_is_instant(self):
        """The best of several runs, less what Python itself takes: other work may be going on."""
        best = []
        for code in ("pass", "from xlstmd.cli import main; main(['--help'])"):
            seconds = []
            for _ in range(5):
                start = time.perf_counter()
                in_process(code)
                seconds.append(time.perf_counter() - start)
            best.append(min(seconds))
        assert best[1] - best[0] < 0.15, statistics.fmean(best)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, command, capsys):
        assert main([command, "--help"]) == 0
        assert command in capsys.readouterr().out

    def test_version_names_the_program(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.startswith("xlstmd ")

    def test_python_m_is_the_command_line(self):
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "xlstmd", "nonsense"]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 2

    def test_options_are_frozen(self):
        """An option that disappears or changes its name breaks somebody's script."""
        frozen = {
            "": "help version",
            "serve": "config help host log-level model port precision state-dir",
            "forecast": "column freq help horizon model output plot precision quantiles",
            "info": "help json",
            "models": "help json",
            "train": "help",
            "train forecaster": (
                "data help minutes output pool preset products restart seed threads"
            ),
            "train policy": "env help output restart seed steps threads",
            "evaluate": "help",
            "evaluate policy": "env episodes help json seed",
        }
        assert options_of(build_parser()) == frozen


class TestEnd:
    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["nonsense"],
            ["forecast"],
            ["forecast", "x.csv"],
            ["forecast", "x.csv", "--horizon", "0"],
            ["forecast", "x.csv", "--horizon", "1.5"],
            ["forecast", "x.csv", "--hor", "3"],
            ["forecast", "x.csv", "--horizon", "3", "--quantiles", "0.5,1"],
            ["forecast", "x.csv", "--horizon", "3", "--quantiles", "0.5,0.50"],
            ["forecast", "x.csv", "--horizon", "3", "--quantiles", ""],
            ["forecast", "x.csv", "--horizon", "3", "--freq", "fortnight"],
            ["forecast", "x.csv", "--horizon", "3", "--output", "out.xlsx"],
            ["forecast", "x.csv", "--horizon", "3", "--plot", "out.bmp"],
            ["serve", "--port", "many"],
            ["serve", "--port", "70000"],
            ["serve", "--host", "0.0.0.0"],
            ["serve", "--config", "no-such-file.toml"],
            ["train"],
            ["train", "forecaster"],
            ["train", "forecaster", "--preset", "enormous"],
            ["train", "forecaster", "--preset", "tiny", "--minutes", "0"],
            ["train", "policy"],
            ["train", "policy", "--env", "nowhere"],
            ["train", "policy", "--env", "t-maze-50", "--steps", "0"],
            ["evaluate"],
            ["evaluate", "policy"],
        ],
    )
    def test_usage_is_2(self, cli, arguments):
        ended = cli(*arguments)
        assert ended.code == 2
        assert ended.out == ""
        assert "Traceback" not in ended.err

    def test_bad_input_is_3_and_one_line(self, cli):
        ended = cli("forecast", "no-such-file.csv", "--horizon", "3")
        assert ended.code == 3
        expected = "expected a readable file, got no-such-file.csv: no such file or directory"
        assert ended.err == f"xlstmd: input: {expected}\n"

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (InputError("input.y[3]", "a number", "two\nlines"), 3),
            (CheckpointError("model: expected a model"), 4),
            (PermissionError("not yours"), 4),
            (ModuleNotFoundError("No module named 'torch'"), 4),
            (KeyboardInterrupt(), 130),
            (BrokenPipeError(), 0),
        ],
    )
    def test_errors_end_with_their_code(self, cli, tmp_path, monkeypatch, error, code):
        def fail(_, *, precision):
            raise error

        monkeypatch.setattr(forecast_command, "load_forecaster", fail)
        # A pipe that breaks turns stdout away; the test's own must survive that.
        monkeypatch.setattr("os.dup2", lambda *_: None)
        (tmp_path / "x.csv").write_text("1\n2\n")
        ended = cli("forecast", tmp_path / "x.csv", "--horizon", "3")
        assert ended.code == code
        assert ended.err.count("\n") == (code in (3, 4))

    def test_a_reader_that_has_enough_is_no_error(self, tmp_path):
        code = (
            "import sys; sys.path.insert(0, 'src'); sys.path.insert(0, '.')\n"
            "from tests.fakes import EchoModel\n"
            "from xlstmd.cli import forecast, main\n"
            "forecast.load_forecaster = lambda name, precision: EchoModel()\n"
            f"sys.exit(main(['forecast', {str(tmp_path / 'x.csv')!r}, '--horizon', '99999', "
            "'--output', '-']))"
        )
        (tmp_path / "x.csv").write_text("1\n2\n")
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0
