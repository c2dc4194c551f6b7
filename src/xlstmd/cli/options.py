"""The options of every command."""

import argparse
import os
from typing import Any, Final

from xlstmd import __version__

DEFAULT_LEVELS: Final = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
PRECISIONS: Final = ("float32", "bfloat16", "int8")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class UsageError(Exception):
    """The command line cannot be meant; says which option, what was expected and what came."""


def build_parser() -> argparse.ArgumentParser:
    """Gives the parser of the whole command line; `module` names what runs a command."""
    parser = argparse.ArgumentParser(
        prog="xlstmd",
        description="Runs xLSTM models in production: forecasts, as a daemon and on files.",
        epilog="Exit codes: 0 done, 2 usage, 3 bad input, 4 could not run.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xlstmd {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_forecast(commands)
    _add_info(commands)
    _add_models(commands)
    _add_train(commands)
    _add_evaluate(commands)
    return parser


def _add_serve(commands: Any) -> None:
    serve = _command(commands, "serve", "run the daemon", "serve")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on, 0 takes a free one (8884)")
    serve.add_argument("--config", metavar="FILE", help="settings in TOML ($XLSTMD_CONFIG)")
    serve.add_argument(
        "--state-dir",
        metavar="DIR",
        help="folder of the sessions, made if absent ($XLSTMD_STATE_DIR; the user's state folder)",
    )
    serve.add_argument("--model", metavar="NAME_OR_PATH", help="forecaster to serve (small)")
    _add_precision(serve)
    serve.add_argument("--log-level", choices=LOG_LEVELS, help="of the daemon's messages (info)")


def _add_forecast(commands: Any) -> None:
    forecast = _command(commands, "forecast", "forecast the series of a file", "forecast")
    forecast.add_argument(
        "input",
        metavar="INPUT",
        help="CSV or parquet with the columns unique_id, ds and y, or one column of numbers; "
        "- reads CSV from stdin",
    )
    forecast.add_argument("--horizon", type=_count, required=True, help="points to forecast")
    forecast.add_argument(
        "--quantiles",
        type=_levels,
        default=DEFAULT_LEVELS,
        metavar="LEVELS",
        help="levels between 0 and 1, with commas between (%(default)s)",
    )
    forecast.add_argument(
        "--output",
        metavar="OUT",
        help="CSV or parquet to write; - writes CSV to stdout; a table and a plot without it",
    )
    forecast.add_argument("--plot", metavar="OUT.png", help="picture to draw (PNG, SVG or PDF)")
    forecast.add_argument("--model", metavar="NAME_OR_PATH", help="forecaster to use (small)")
    _add_precision(forecast)
    forecast.add_argument(
        "--freq", help="of the series, where their times do not show it: h, 15min, D, W, ME, ..."
    )
    forecast.add_argument(
        "--column",
        metavar="NAME",
        help="column with the values; a file without unique_id and ds is one series then",
    )


def _add_info(commands: Any) -> None:
    info = _command(commands, "info", "show versions, the machine, runtimes and models", "info")
    info.add_argument("--json", action="store_true", help="print JSON")


def _add_models(commands: Any) -> None:
    models = _command(commands, "models", "list the models that ship", "models")
    models.add_argument("--json", action="store_true", help="print JSON")


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a model", allow_abbrev=False)
    kinds = train.add_subparsers(title="kinds of models", metavar="KIND", required=True)
    forecaster = _command(kinds, "forecaster", "train a forecaster by the shipped recipe", "train")
    forecaster.add_argument("--preset", required=True, help="architecture, for example small")
    forecaster.add_argument(
        "--output", metavar="DIR", help="folder of the run, gone on with if it exists (runs/PRESET)"
    )
    forecaster.add_argument("--seed", type=int, default=0, help="of all randomness (%(default)s)")
    forecaster.add_argument(
        "--minutes", type=_minutes, default=30.0, help="of training (%(default)s)"
    )
    forecaster.add_argument(
        "--products",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 rounds what linear maps multiply (%(default)s)",
    )
    forecaster.add_argument("--restart", action="store_true", help="ignore an earlier checkpoint")
    forecaster.add_argument(
        "--data",
        metavar="DIR",
        default=os.environ.get("XLSTMD_DATA"),
        help="folder with series/train; synthetic series alone without it ($XLSTMD_DATA)",
    )
    forecaster.add_argument("--threads", type=_count, default=1, help="(%(default)s)")
    forecaster.add_argument(
        "--pool", metavar="DIR", help="pool of training series that an earlier run has made"
    )

    _add_train_policy(kinds)


def _add_train_policy(kinds: Any) -> None:
    summary = "train a policy by recurrent PPO"
    policy = _command(kinds, "policy", summary, "train_policy")
    policy.add_argument(
        "--env", metavar="NAME", required=True, help="environment, for example t-maze-50"
    )
    policy.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the run, gone on with if it exists (runs/ENV-SEED)",
    )
    policy.add_argument("--seed", type=int, default=0, help="of all randomness (%(default)s)")
    policy.add_argument(
        "--steps", type=_count, help="of all environments together (those of the recipe)"
    )
    policy.add_argument("--restart", action="store_true", help="ignore an earlier checkpoint")
    policy.add_argument("--threads", type=_count, default=1, help="(%(default)s)")


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="score a model", allow_abbrev=False)
    kinds = evaluate.add_subparsers(title="kinds of models", metavar="KIND", required=True)
    policy = _command(kinds, "policy", "play episodes and print their returns", "evaluate")
    policy.add_argument("policy", metavar="NAME_OR_PATH", help="a shipped policy, or a folder")
    policy.add_argument(
        "--episodes", type=_count, help="to play (as many as the published protocol has)"
    )
    policy.add_argument(
        "--env", metavar="NAME", help="environment (the one that it was trained in)"
    )
    policy.add_argument("--seed", type=int, help="of the environments (1000000)")
    policy.add_argument("--json", action="store_true", help="print JSON")


def _add_precision(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--precision", choices=PRECISIONS, help="of the model's dense products (float32)"
    )


def _command(commands: Any, name: str, summary: str, module: str) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}."
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, allow_abbrev=False
    )
    command.set_defaults(module=module)
    return command


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text}")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0.0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return minutes


def _levels(text: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(part) for part in text.split(","))
    except ValueError:
        levels = ()
    if not levels or not all(0.0 < level < 1.0 for level in levels):
        expected = "numbers strictly between 0 and 1 with commas between"
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    if len(set(levels)) != len(levels):
        raise argparse.ArgumentTypeError(f"expected each level once, got {text}")
    return levels
