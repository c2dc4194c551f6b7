"""`xlstmd evaluate policy`: returns of whole episodes."""

import argparse
import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from xlstmd.cli.options import UsageError
from xlstmd.models.policy import load_policy


def run(arguments: argparse.Namespace) -> None:
    """Plays the episodes and prints what came of them.

    Raises:
      UsageError: there is no such environment, or it is none for this policy.
      CheckpointError: there is no such policy, or its files are damaged.
    """
    facts = score(arguments)
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in facts.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    Console().print(table)


def score(arguments: argparse.Namespace) -> dict[str, Any]:
    """Gives the score, as JSON can hold it."""
    from xlstmd.train.policy.environments import ENVIRONMENTS
    from xlstmd.train.policy.evaluation import EVALUATION_SEED, evaluate_policy

    policy = load_policy(arguments.policy)
    name = arguments.env or policy.checkpoint.training.get("environment")
    if name not in ENVIRONMENTS:
        raise UsageError(f"--env: expected one of {', '.join(ENVIRONMENTS)}, got {name}")
    spec = ENVIRONMENTS[name]
    if spec.contract != policy.contract:
        raise UsageError(f"--env: expected one with the contract of {policy.name}, got {name}")
    episodes = arguments.episodes or spec.episodes
    seed = EVALUATION_SEED if arguments.seed is None else arguments.seed
    columns = (TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    start = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True), disable=arguments.json) as bar:
        task = bar.add_task("episodes", total=episodes)
        found = evaluate_policy(
            policy, spec, episodes, seed=seed, progress=lambda n: bar.update(task, completed=n)
        )
    return {
        "policy": f"{policy.name}@{policy.version}",
        "environment": name,
        "episodes": episodes,
        "seed": seed,
        "mean": found.mean,
        "deviation": found.deviation,
        "middle_mean": found.middle_mean,
        "least": float(found.returns.min()),
        "largest": float(found.returns.max()),
        "steps_per_second": found.steps / (time.perf_counter() - start),
        "runtime": policy.runtime.name,
        "sha256": policy.checkpoint.sha256,
    }
