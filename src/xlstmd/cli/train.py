"""`xlstmd train forecaster`: the shipped recipe."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Final

from xlstmd.cli.options import UsageError
from xlstmd.models.presets import FORECASTERS

# Rounds of waiting before a thread of torch sleeps: as long as a gap between two of its operations.
SPINS: Final = "1000"


def run(arguments: argparse.Namespace) -> None:
    """Trains until the minutes are over.

    Raises:
      UsageError: there is no such preset.
      XlstmdError: the data or the pool cannot be used.
    """
    if arguments.preset not in FORECASTERS:
        known = ", ".join(FORECASTERS)
        raise UsageError(f"--preset: expected one of {known}, got {arguments.preset}")
    # Torch's threads wait by spinning, on the cores that the native library's threads then want.
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    # Torch comes with it, so only now.
    from xlstmd.train.recipe import train_forecaster

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(arguments.output or f"runs/{arguments.preset}")
    train_forecaster(
        arguments.preset,
        folder,
        seed=arguments.seed,
        minutes=arguments.minutes,
        resume=not arguments.restart,
        data_root=Path(arguments.data) if arguments.data else None,
        threads=arguments.threads,
        pool=Path(arguments.pool) if arguments.pool else None,
    )
    sys.stdout.write(f"The model is in {folder / 'model'}\n")
