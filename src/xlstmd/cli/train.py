"""`xlstmd train forecaster`: the shipped recipe."""

import argparse
import logging
import sys
from pathlib import Path

from xlstmd.cli.options import UsageError
from xlstmd.models.presets import FORECASTERS


def run(arguments: argparse.Namespace) -> None:
    """Trains until the minutes are over.

    Raises:
      UsageError: there is no such preset.
      XlstmdError: the data or the pool cannot be used.
    """
    if arguments.preset not in FORECASTERS:
        known = ", ".join(FORECASTERS)
        raise UsageError(f"--preset: expected one of {known}, got {arguments.preset}")
    # Torch comes with it, so only now.
    from xlstmd.train.recipe import train_forecaster

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(arguments.output or f"runs/{arguments.preset}")
    train_forecaster(
        arguments.preset,
        folder,
        seed=arguments.seed,
        minutes=arguments.minutes,
        products=arguments.products,
        resume=not arguments.restart,
        data_root=Path(arguments.data) if arguments.data else None,
        threads=arguments.threads,
        pool=Path(arguments.pool) if arguments.pool else None,
    )
    sys.stdout.write(f"The model is in {folder / 'model'}\n")
