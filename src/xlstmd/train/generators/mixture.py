"""The mixture of all families: which share each has, per bucket of length."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from xlstmd.train.generators import (
    counts,
    exponential_smoothing,
    gaussian_process,
    growth,
    random_walk,
    sarima,
    structural,
    subdaily,
    tourism,
    waveforms,
    yearly,
)
from xlstmd.train.generators.augment import augment
from xlstmd.train.generators.periods import bucket_of
from xlstmd.train.generators.rows import Mask, Rows, standardized

VERSION = 1
"""Rises when the same seed gives other series than before."""

FAMILIES: dict[str, Callable[[np.random.Generator, int, int], Rows]] = {
    "structural": structural.generate,
    "exponential_smoothing": exponential_smoothing.generate,
    "sarima": sarima.generate,
    "gaussian_process": gaussian_process.generate,
    "random_walk": random_walk.generate,
    "counts": counts.generate,
    "growth": growth.generate,
    "waveforms": waveforms.generate,
    "yearly": yearly.generate,
    "tourism": tourism.generate,
    "subdaily": subdaily.generate,
}

COMMON = {
    "structural": 36.0,
    "exponential_smoothing": 14.0,
    "sarima": 12.0,
    "gaussian_process": 10.0,
    "random_walk": 8.0,
    "counts": 7.0,
    "growth": 7.0,
    "waveforms": 6.0,
}
"""Shares of the families that occur at every length, in percent of the rest."""

SPECIAL: dict[int, dict[str, float]] = {
    64: {"yearly": 12.0, "tourism": 10.0},
    160: {"tourism": 10.0},
    320: {"tourism": 5.0, "subdaily": 8.0},
    576: {"subdaily": 30.0},
    1088: {"subdaily": 30.0},
    2304: {"subdaily": 30.0},
}
"""Shares of the families made for certain lengths, in percent of all."""

# Series of these families are positive by nature: upside down they would teach what never occurs.
_UPRIGHT = frozenset({"yearly", "tourism", "growth", "counts"})


def shares(length: int) -> dict[str, float]:
    """Gives the share of every family at a length, as parts of 1."""
    special = SPECIAL[bucket_of(length)]
    rest = (100.0 - sum(special.values())) / sum(COMMON.values())
    percent = {name: share * rest for name, share in COMMON.items()} | special
    return {name: share / 100.0 for name, share in percent.items()}


def usable(rows: npt.NDArray[np.floating]) -> Mask:
    """Marks standardized rows that are finite, vary, and are more than one spike [count]."""
    length = rows.shape[1]
    with np.errstate(invalid="ignore"):
        extreme = np.abs(rows).max(axis=1)
        varying = rows.std(axis=1) > 0.5
    # One spike in a flat row has the height of the square root of the length.
    peaked = extreme >= max(6.0, 0.75 * np.sqrt(length))
    good: Mask = np.isfinite(extreme) & varying & ~peaked
    return good


def _draw(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws rows once, in random order, standardized; some may not be usable."""
    table = shares(length)
    numbers = rng.multinomial(count, list(table.values()))
    rows = np.empty((count, length))
    turnable = np.ones(count, dtype=np.bool_)
    start = 0
    for name, number in zip(table, numbers, strict=True):
        if number:
            part = slice(start, start + int(number))
            rows[part] = standardized(FAMILIES[name](rng, int(number), length))
            turnable[part] = name not in _UPRIGHT
            start = part.stop
    order = rng.permutation(count)
    return standardized(augment(rng, rows[order], turnable[order]))


def generate(rng: np.random.Generator, count: int, length: int) -> npt.NDArray[np.float32]:
    """Draws series of all families for one length.

    Args:
      rng: source of all randomness; the same state gives the same series.
      count: series to draw.
      length: points per series; the parameters are drawn relative to it.

    Returns:
      Series [count, length], each with mean 0 and standard deviation 1, none constant.
    """
    rows = np.empty((count, length), dtype=np.float32)
    filled = 0
    while filled < count:
        fresh = _draw(rng, count - filled, length)
        fresh = fresh[usable(fresh)]
        rows[filled : filled + len(fresh)] = fresh
        filled += len(fresh)
    return rows
