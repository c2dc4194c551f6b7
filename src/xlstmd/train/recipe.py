"""The recipe of the shipped forecasters, from a seed to a folder with weights."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xlstmd.models import presets
from xlstmd.models.checkpoint import ForecasterCheckpoint, save
from xlstmd.models.config import ForecasterConfig
from xlstmd.models.forecast_network import untrained_network
from xlstmd.ops.products import Products
from xlstmd.train.batches import Batch, draw_bucket, make_batch
from xlstmd.train.curve import draw_curve
from xlstmd.train.loop import Loop, LoopConfig
from xlstmd.train.pool import Pool, build_pool

logger = logging.getLogger(__name__)

# Series per bucket for each minute of training, at about the rate that one core uses them.
_POOL_PER_MINUTE: Final = {64: 10_000, 160: 8_000, 320: 4_400, 576: 4_400, 1088: 1_400, 2304: 560}
_LARGEST_POOL_MINUTES: Final = 60.0
REAL_FRACTION: Final = 0.25


def train_forecaster(
    preset: str,
    folder: Path,
    *,
    seed: int = 0,
    minutes: float = 30.0,
    products: Products = "float32",
    resume: bool = True,
    data_root: Path | None = None,
    threads: int = 1,
    pool: Path | None = None,
    version: str = "1",
) -> None:
    """Trains a forecaster and writes it to `folder/model`.

    Beside it lie the pool of series, the run's checkpoint, `loss.csv` and `loss.png`. A run that
    was cut off goes on where it was, if `resume`.

    Args:
      preset: name of the architecture, see `presets.FORECASTERS`.
      folder: of the run.
      seed: of all randomness.
      minutes: of training time.
      products: `bfloat16` rounds what linear maps multiply, forward and backward.
      resume: whether to go on from a checkpoint in the folder.
      data_root: folder with `series/train`; None trains on synthetic series alone.
      threads: of torch, and processes that make the pool.
      pool: folder of a pool that exists; None makes one in the run's folder.
      version: of the model.

    Raises:
      ConfigError: no such preset, or the pool is not complete.
    """
    config = presets.forecaster(preset)
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    series = _pool(folder, pool, seed=seed, minutes=minutes, threads=threads, data_root=data_root)
    rng = np.random.default_rng(seed)
    network = untrained_network(config)
    plan = LoopConfig(seconds=60.0 * minutes, products=products)
    loop = Loop(network, plan, folder, rng, config.quantile_levels)
    if resume and loop.resume():
        logger.info("resumed", extra={"step": loop.step, "seconds": round(loop.elapsed)})
    weights = _learn(loop, draw_batches(rng, series, config))
    training = {
        "preset": preset,
        "seed": seed,
        "steps": loop.step,
        "samples": loop.samples,
        "minutes": round(loop.elapsed / 60.0, 1),
        "threads": threads,
        "products": products,
        "pool": series.card,
    }
    checkpoint = ForecasterCheckpoint(
        name=preset, version=version, config=config, weights=weights, training=training
    )
    save(checkpoint, folder / "model")
    draw_curve(folder / "loss.csv", folder / "loss.png")


def _learn(loop: Loop, batches: Iterator[Batch]) -> dict[str, NDArray[np.float32]]:
    """Runs the loop under a progress bar and gives the averaged weights."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("loss", total=loop.config.seconds)

        def show(elapsed: float, loss: float) -> None:
            bar.update(task, completed=elapsed, description=f"loss {loss:.4f} step {loop.step}")

        weights = loop.run(batches, show)
    return {name: tensor.numpy() for name, tensor in weights.items()}


def draw_batches(rng: np.random.Generator, pool: Pool, config: ForecasterConfig) -> Iterator[Batch]:
    """Gives batches without end; each from one bucket of the pool."""
    while True:
        length, count = draw_bucket(rng, pool.lengths)
        yield make_batch(rng, pool.draw(rng, length, count), config)


def _pool(
    folder: Path,
    existing: Path | None,
    *,
    seed: int,
    minutes: float,
    threads: int,
    data_root: Path | None,
) -> Pool:
    place = existing or folder / "pool"
    if (place / "pool.json").is_file() or existing is not None:
        return Pool(place)
    share = min(minutes, _LARGEST_POOL_MINUTES)
    counts = {length: max(int(share * n), 256) for length, n in _POOL_PER_MINUTE.items()}
    return build_pool(
        place,
        seed=seed,
        counts=counts,
        real_fraction=REAL_FRACTION,
        workers=threads,
        data_root=data_root,
    )
