"""`xlstmd models`: what ships."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from xlstmd.models import checkpoint, policy_checkpoint
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.policy_checkpoint import PolicyCheckpoint

MEGABYTE: Final = 1e6


def run(arguments: argparse.Namespace) -> None:
    """Prints the models.

    Raises:
      CheckpointError: the files of one are damaged.
    """
    models = [describe(folder) for folder in checkpoint.shipped().values()]
    models += [describe_policy(folder) for folder in policy_checkpoint.shipped_policies().values()]
    if arguments.json:
        sys.stdout.write(json.dumps(models, indent=2) + "\n")
        return
    table = Table()
    table.add_column("model", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    for name in ("parameters", "MB"):
        table.add_column(name, justify="right", no_wrap=True)
    for model in models:
        table.add_row(
            model["model"],
            model["kind"],
            f"{model['parameters']:,}",
            f"{model['bytes'] / MEGABYTE:.1f}",
        )
    Console().print(table if models else "no model ships with this installation")


def describe(folder: Path) -> dict[str, Any]:
    """Gives facts about a forecaster on disk, its files checked."""
    model = checkpoint.load(folder)
    return _facts(folder, checkpoint.KIND, model) | {
        "patch_length": model.config.patch_length,
        "context_length": model.config.context_length,
    }


def describe_policy(folder: Path) -> dict[str, Any]:
    """Gives facts about a policy on disk, its files checked."""
    model = policy_checkpoint.read_policy(folder)
    return _facts(folder, policy_checkpoint.KIND, model) | {
        "observations": [entry.name for entry in model.contract.observations],
        "actions": [entry.name for entry in model.contract.actions],
    }


def _facts(
    folder: Path, kind: str, model: ForecasterCheckpoint | PolicyCheckpoint
) -> dict[str, Any]:
    return {
        "model": f"{model.name}@{model.version}",
        "kind": kind,
        "parameters": sum(array.size for array in model.weights.values()),
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "licence": model.licence,
        "sha256": model.sha256,
        "path": str(folder),
    }
