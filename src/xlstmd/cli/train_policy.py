"""`xlstmd train policy`: recurrent PPO by the shipped recipes."""

import argparse
import sys
from pathlib import Path

from xlstmd.cli.options import UsageError


def run(arguments: argparse.Namespace) -> None:
    """Trains until the steps are done.

    Raises:
      UsageError: there is no recipe for this environment.
      XlstmdError: the folder holds another run.
    """
    # Torch and Gymnasium come with them, so only now.
    from xlstmd.train.policy.recipes import RECIPES

    if arguments.env not in RECIPES:
        raise UsageError(f"--env: expected one of {', '.join(RECIPES)}, got {arguments.env}")
    from xlstmd.train.policy.run import train_policy

    folder = Path(arguments.output or f"runs/{arguments.env}-{arguments.seed}")
    train_policy(
        arguments.env,
        folder,
        seed=arguments.seed,
        steps=arguments.steps,
        resume=not arguments.restart,
        threads=arguments.threads,
    )
    sys.stdout.write(f"The policy is in {folder / 'model'}\n")
