"""`xlstmd serve`: a forecaster, policies, and the daemon around them."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from xlstmd.cli.options import UsageError
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import ConfigError
from xlstmd.server import serve
from xlstmd.server.settings import Settings


def run(arguments: argparse.Namespace) -> None:
    """Serves until the process is told to stop.

    Raises:
      UsageError: a setting that cannot be, wherever it comes from.
      XlstmdError: the model or the address cannot be used.
    """
    settings = read_settings(arguments)
    state_dir = state_folder(arguments.state_dir, os.environ)
    # Found out before a model is loaded.
    StoreFolder(state_dir).make()
    serve.run(sources_of(settings), settings, state_dir=state_dir)


def sources_of(settings: Settings) -> list[ModelSource]:
    """Gives the forecaster and the policies that the settings name."""
    how = {
        "runtime": settings.runtime or None,
        "threads": settings.threads,
        "precision": settings.precision,
    }
    forecaster = ModelSource(
        loader="xlstmd.models.forecaster:load_forecaster",
        arguments={"name_or_path": settings.model or None, **how},
    )
    policies = [
        ModelSource(
            loader="xlstmd.models.served_policy:load_served_policy",
            arguments={"name_or_path": name, **how},
        )
        for name in settings.policies
    ]
    return [forecaster, *policies]


def state_folder(flag: str | None, environment: Mapping[str, str]) -> Path:
    """Gives the folder of what outlives a restart.

    That is the one named by the flag, else by `XLSTMD_STATE_DIR`, else by systemd
    (`StateDirectory=`), else the one of the user by the XDG Base Directory Specification.

    Args:
      flag: `None` where it is not given.
      environment: variables; an empty one counts as not set.
    """
    named = flag or environment.get("XLSTMD_STATE_DIR")
    # systemd separates several with colons.
    named = named or environment.get("STATE_DIRECTORY", "").partition(":")[0]
    if named:
        return Path(named)
    home = environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "xlstmd"


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Reads file, environment and flags.

    Raises:
      UsageError: one of them holds what cannot be.
    """
    names = ("host", "port", "model", "precision", "log_level")
    try:
        return Settings.from_sources(
            file=Path(arguments.config) if arguments.config else None,
            environment=os.environ,
            flags={name: getattr(arguments, name) for name in names},
        )
    except ConfigError as error:
        raise UsageError(str(error)) from None
