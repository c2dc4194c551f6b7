"""What happens to series of every family afterwards: mixing, gain, limits, outliers, rounding."""

import numpy as np

from xlstmd.train.generators.rows import (
    Mask,
    Rows,
    chance,
    clock,
    log_uniform,
    normal,
    sign,
    standardized,
    uniform,
)


def _mixed(rng: np.random.Generator, rows: Rows) -> Rows:
    """Adds to some rows a share of another row of the batch."""
    chosen = np.flatnonzero(chance(rng, 0.15, rows.shape[0]))
    partner = rng.integers(0, rows.shape[0], chosen.size)
    share = uniform(rng, 0.1, 0.9, chosen.size)
    mixture = share * rows[chosen] + (1.0 - share) * rows[partner]
    rows[chosen] = standardized(mixture)
    return rows


def _amplified(rng: np.random.Generator, rows: Rows) -> Rows:
    """Changes the gain of some rows along a path with two kinks."""
    chosen = np.flatnonzero(chance(rng, 0.12, rows.shape[0]))
    time = clock(rows.shape[1])
    gain = np.ones((chosen.size, rows.shape[1]))
    for _ in range(2):
        kink = uniform(rng, 0.0, 1.0, chosen.size)
        gain += rng.standard_normal((chosen.size, 1)) * np.maximum(time - kink, 0.0)
    rows[chosen] *= np.clip(gain, 0.15, 4.0)
    return rows


def _censored(rng: np.random.Generator, rows: Rows) -> Rows:
    """Cuts some rows off at a quantile of their own, from below or from above."""
    chosen = np.flatnonzero(chance(rng, 0.06, rows.shape[0]))
    ordered = np.sort(rows[chosen], axis=1)
    rank = (uniform(rng, 0.05, 0.6, chosen.size) * rows.shape[1]).astype(np.int64)
    low = np.take_along_axis(ordered, rank, axis=1)
    high = np.take_along_axis(ordered, rows.shape[1] - 1 - rank // 2, axis=1)
    below = rng.random((chosen.size, 1)) < 0.7
    rows[chosen] = np.where(below, np.maximum(rows[chosen], low), np.minimum(rows[chosen], high))
    return rows


def _disturbed(rng: np.random.Generator, rows: Rows) -> Rows:
    """Adds single outliers to some rows."""
    chosen = np.flatnonzero(chance(rng, 0.12, rows.shape[0]))
    shape = (chosen.size, rows.shape[1])
    hit = rng.random(shape) < log_uniform(rng, 0.2 / rows.shape[1], 0.03, chosen.size)
    size = log_uniform(rng, 0.5, 4.0, chosen.size) * (1.0 + np.abs(normal(rng, *shape)))
    direction = np.where(
        rng.random((chosen.size, 1)) < 0.5,
        sign(rng, 0.6, chosen.size),
        np.sign(normal(rng, *shape)),
    )
    rows[chosen] += hit * size * direction
    return rows


def _rounded(rng: np.random.Generator, rows: Rows) -> Rows:
    """Rounds some rows to a grid, as sensors and small counts do."""
    chosen = np.flatnonzero(chance(rng, 0.10, rows.shape[0]))
    step = log_uniform(rng, 0.02, 0.6, chosen.size)
    rows[chosen] = np.rint(rows[chosen] / step) * step
    return rows


def augment(rng: np.random.Generator, rows: Rows, turnable: Mask) -> Rows:
    """Applies every change to its share of the rows.

    Args:
      rows: standardized series [count, length]; changed in place.
      turnable: rows whose sign may be flipped [count].

    Returns:
      The rows, no longer exactly standardized.
    """
    for change in (_mixed, _amplified, _censored, _disturbed, _rounded):
        rows = change(rng, rows)
    flipped = chance(rng, 0.12, rows.shape[0]) & turnable
    rows[flipped] *= -1.0
    return rows
