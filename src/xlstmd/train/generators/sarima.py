"""Seasonal ARIMA processes."""

import numpy as np

from xlstmd.train.generators.noise import innovations
from xlstmd.train.generators.periods import draw_periods, whole
from xlstmd.train.generators.recursions import delayed, first_order, seasonal, second_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    log_uniform,
    pick,
    standardized,
    uniform,
)


def _autoregressed(rng: np.random.Generator, rows: Rows) -> Rows:
    """Passes each row through a real root or a complex pair of roots."""
    count = rows.shape[0]
    rows = rows.copy()
    paired = chance(rng, 0.4, count)
    real = np.flatnonzero(~paired)
    rows[real] = first_order(rows[real], uniform(rng, -0.7, 0.98, real.size))
    pair = np.flatnonzero(paired)
    if pair.size:
        radius = uniform(rng, 0.5, 0.985, pair.size)
        angle = np.pi * log_uniform(rng, 0.02, 0.95, pair.size)
        rows[pair] = second_order(rows[pair], radius, angle)
    return rows


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length]; a quarter of them is exponentiated."""
    warm_up = length // 3
    rows = innovations(rng, count, length + warm_up, heavy=0.3)
    lags = whole(draw_periods(rng, count, length))
    for share in (0.65, 0.35):
        chosen = np.flatnonzero(chance(rng, share, count))
        rows[chosen, 1:] += uniform(rng, -0.9, 0.9, chosen.size) * rows[chosen, :-1]
    for share in (0.75, 0.35):
        chosen = np.flatnonzero(chance(rng, share, count))
        if chosen.size:
            rows[chosen] = standardized(_autoregressed(rng, rows[chosen]))

    cyclic = np.flatnonzero(lags > 1)
    if cyclic.size:
        differenced = rng.random((cyclic.size, 1)) < 0.6
        average = uniform(rng, 0.3, 0.95, cyclic.size) * differenced
        part = rows[cyclic] - average * delayed(rows[cyclic], lags[cyclic])
        # With a moving average near 1 the first cycle alone sets the profile: make it visible.
        first = np.arange(rows.shape[1])[None, :] < lags[cyclic][:, None]
        lift = log_uniform(rng, 1.0, 10.0, cyclic.size)
        part = np.where(first & differenced, lift * part, part)
        weight = np.where(differenced, 1.0, uniform(rng, 0.3, 0.95, cyclic.size))
        rows[cyclic] = seasonal(part, lags[cyclic], weight)
    rows = standardized(rows[:, warm_up:])

    order = pick(rng, (30, 55, 15), count)[:, None]
    drift = rng.standard_normal((count, 1)) * log_uniform(rng, 0.1, 3.0, count) / np.sqrt(length)
    once = standardized(np.cumsum(rows + drift, axis=1))
    # Summed twice, shocks and season would vanish under the slope: put some back on top.
    twice = standardized(np.cumsum(once, axis=1))
    twice += log_uniform(rng, 0.01, 0.4, count) * rows
    rows = np.where(order == 0, rows, np.where(order == 1, once, twice))
    lifted = np.flatnonzero(chance(rng, 0.25, count))
    gain = log_uniform(rng, 0.15, 1.1, lifted.size)
    rows[lifted] = np.exp(np.clip(gain * standardized(rows[lifted]), -6.0, 6.0))
    return rows
