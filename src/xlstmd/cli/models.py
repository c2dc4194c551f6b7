"""`xlstmd models`: what ships."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from xlstmd.models import checkpoint

MEGABYTE: Final = 1e6


def run(arguments: argparse.Namespace) -> None:
    """Prints the models.

    Raises:
      CheckpointError: the files of one are damaged.
    """
    models = [describe(folder) for folder in checkpoint.shipped().values()]
    if arguments.json:
        sys.stdout.write(json.dumps(models, indent=2) + "\n")
        return
    table = Table()
    table.add_column("model")
    for name in ("parameters", "patch", "context", "MB"):
        table.add_column(name, justify="right")
    table.add_column("licence")
    table.add_column("path", overflow="fold")
    for model in models:
        table.add_row(
            model["model"],
            f"{model['parameters']:,}",
            str(model["patch_length"]),
            str(model["context_length"]),
            f"{model['bytes'] / MEGABYTE:.1f}",
            model["licence"],
            model["path"],
        )
    Console().print(table if models else "no model ships with this installation")


def describe(folder: Path) -> dict[str, Any]:
    """Gives facts about a model on disk, its files checked."""
    model = checkpoint.load(folder)
    return {
        "model": f"{model.name}@{model.version}",
        "parameters": sum(array.size for array in model.weights.values()),
        "patch_length": model.config.patch_length,
        "context_length": model.config.context_length,
        "bytes": sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        "licence": model.licence,
        "sha256": model.sha256,
        "path": str(folder),
    }
