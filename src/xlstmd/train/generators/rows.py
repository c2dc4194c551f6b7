"""A batch of series, one per row, and the draws that every family uses."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float64]
"""Series [count, length]; a parameter per series has shape [count, 1]."""

Integers = npt.NDArray[np.int64]
"""One whole number per series, [count]."""

Mask = npt.NDArray[np.bool_]
"""One truth value per series, [count]."""


def clock(length: int) -> Rows:
    """Gives the time axis [1, length] from 0 to 1, so that rates are relative to the length."""
    return np.linspace(0.0, 1.0, length)[None, :]


def standardized(rows: Rows) -> Rows:
    """Gives every row mean 0 and standard deviation 1; a constant row becomes 0."""
    centered = rows - rows.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.mean(np.square(centered), axis=1, keepdims=True))
    floor = 1e-9 * (1.0 + np.abs(rows).max(axis=1, keepdims=True))
    return np.where(deviation > floor, centered / np.maximum(deviation, floor), 0.0)


def uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Rows:
    """Draws one number per series, [count, 1]."""
    return rng.uniform(low, high, (count, 1))


def log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Rows:
    """Draws one number per series, uniform in its logarithm, [count, 1]."""
    return np.exp(rng.uniform(np.log(low), np.log(high), (count, 1)))


def sign(rng: np.random.Generator, share_up: float, count: int) -> Rows:
    """Draws +1 with the given share, else -1, [count, 1]."""
    return np.where(rng.random((count, 1)) < share_up, 1.0, -1.0)


def pick(rng: np.random.Generator, shares: Sequence[float], count: int) -> Integers:
    """Draws an index into `shares` per series, [count]."""
    edges = np.cumsum(shares)
    chosen: Integers = np.searchsorted(edges, rng.random(count) * edges[-1], side="right")
    return chosen


def chance(rng: np.random.Generator, share: float, count: int) -> Mask:
    """Marks each series with the given probability, [count]."""
    return rng.random(count) < share


def normal(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws standard normal rows."""
    # Single precision halves the cost of the draw and is far below any modeled noise.
    return rng.standard_normal((count, length), dtype=np.float32).astype(np.float64)
