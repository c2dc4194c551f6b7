"""Forecasts with a network of TiRex's published size: 12 blocks, 512 units, 35.3M weights."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cpu.peers import (
    compile_cells,
    named,
    tirex_network,
    tirex_settings,
    without_rounding,
)
from benchmarks.cpu.workload import (
    LONG_NAMES,
    Candidate,
    Cost,
    Plan,
    Precision,
    Work,
    ours_by_precision,
)
from xlstmd.models.tirex import load_tirex

SHAPE: dict[str, int] = {"width": 512, "heads": 4, "blocks": 12, "hidden": 2048, "context": 2048}
PATCH = 32
HORIZON = 64

# By batch and context; the peers' labels are short, as there is one package.
GOALS: dict[tuple[int, int], dict[tuple[Precision, str], float]] = {
    (1, 512): {("fp32", "eager"): 40.0, ("fp32", "compiled"): 18.0, ("bf16", "eager"): 60.0},
    (1, 2048): {("fp32", "eager"): 11.0, ("fp32", "compiled"): 5.0},
    (64, 512): {("fp32", "compiled"): 26.0, ("bf16", "compiled"): 44.0},
    (64, 2048): {("fp32", "compiled"): 3.2, ("bf16", "compiled"): 5.5},
}

Series = NDArray[np.float32]


def works(plan: Plan) -> Iterator[Work]:
    """Gives the work for each batch and context."""
    model = tirex_network(**SHAPE)
    with TemporaryDirectory() as folder:
        path = write_checkpoint(model, Path(folder) / "model.ckpt")
        fast: dict[int, Any] = {}
        for batch, context in GOALS:
            if plan.quick and batch > 1:
                continue
            if batch not in fast and not plan.quick:
                fast[batch] = tirex_network(**SHAPE)
                compile_cells(fast[batch])
            yield work(model, fast.get(batch), path, batch, context, plan)


def write_checkpoint(model: Any, path: Path) -> Path:
    """Writes a network as TiRex is published."""
    state = {f"block_stack.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"hyper_parameters": tirex_settings(**SHAPE), "state_dict": state}, path)
    return path


def work(model: Any, fast: Any | None, path: Path, batch: int, context: int, plan: Plan) -> Work:
    """Gives the forecast of some series."""
    series = make_series(batch, context)

    def make(precision: Precision) -> Candidate:
        call = ours(path, series, precision, plan.threads)
        return Candidate(label=precision, name="xlstmd", run=call, check=call)

    built, notes = ours_by_precision(("fp32", "bf16", "int8"), make)
    eager = official(model, series)
    peers = []
    # Of a large batch, the eager form takes half a minute; the compiled one is the faster anyway.
    if batch == 1 or plan.quick:
        peers.append(candidate("eager", "eager", eager))
    if fast is not None:
        peers.append(candidate("compiled", "compile=True", official(fast, series)))
    return Work(
        id=f"tirex-b{batch}-ctx{context}",
        ours=built,
        peers=tuple(peers),
        reference=lambda: np.sort(without_rounding(eager), axis=-1),
        goals=GOALS[batch, context],
        cost=cost(model, batch, context),
        notes=notes,
    )


def candidate(label: str, setting: str, call: Callable[[], Tensor]) -> Candidate:
    """Makes a candidate of an official call; only quantiles that are sorted can be compared."""
    return Candidate(
        label=label,
        name=named("tirex", setting),
        run=call,
        check=lambda: np.sort(call(), axis=-1),
    )


def make_series(batch: int, length: int) -> Series:
    """Gives series of like scale: a season, a slow wave and noise."""
    rng = np.random.default_rng(batch)
    time = np.arange(length)
    shift, period = rng.uniform(0.0, 6.0, (batch, 1)), rng.uniform(12.0, 48.0, (batch, 1))
    wave = np.sin(2.0 * np.pi * time / period + shift) + np.sin(time / 300.0 + shift)
    return (wave + 0.3 * rng.normal(size=(batch, length))).astype(np.float32)


def ours(
    path: Path, series: Series, precision: Precision, threads: int
) -> Callable[[], NDArray[np.float64]]:
    """Gives our forecast from the same file."""
    forecaster = load_tirex(path, threads=threads, precision=LONG_NAMES[precision])
    rows = list(series.astype(np.float64))
    levels = forecaster.config.quantile_levels
    return lambda: forecaster.forecast(rows, HORIZON, levels).quantiles


def official(model: Any, series: Series) -> Callable[[], Tensor]:
    """Gives the official forecast with its default rollout."""
    contexts = torch.from_numpy(series)

    def call() -> Tensor:
        quantiles: Tensor = model.forecast(contexts, prediction_length=HORIZON)[0]
        return quantiles

    return call


def cost(model: Any, batch: int, context: int) -> Cost:
    """Gives the least work: padding, which is the same for all series, is not in it."""
    numbers = {name: p.numel() for name, p in model.named_parameters()}
    head = sum(count for name, count in numbers.items() if name.startswith("output_"))
    everything = sum(numbers.values())
    patches = HORIZON // PATCH
    full = SHAPE["context"] // PATCH
    # A full window slides and is run again for each patch; a shorter one goes on.
    tokens = patches * full if context == SHAPE["context"] else context // PATCH + patches - 1
    flops = 2.0 * batch * (tokens * (everything - head) + patches * head)
    return Cost(flops=flops, weights=everything, resident=everything)
