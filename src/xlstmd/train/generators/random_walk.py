"""Random walks and mean-reverting walks, as in prices and sensor drift."""

import numpy as np

from xlstmd.train.generators.noise import innovations, persistent_path
from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    log_uniform,
    normal,
    standardized,
    uniform,
)


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length] with drift, changing volatility and observation noise."""
    shocks = innovations(rng, count, length)
    volatile = np.flatnonzero(chance(rng, 0.40, count))
    if volatile.size:
        memory = log_uniform(rng, 2.0, length / 2, volatile.size)
        path = persistent_path(rng, memory, length)
        shocks[volatile] *= np.exp(uniform(rng, 0.2, 1.0, volatile.size) * path)
    drift = rng.standard_normal((count, 1)) * log_uniform(rng, 0.1, 3.0, count) / np.sqrt(length)
    drift *= rng.random((count, 1)) < 0.6
    reverting = rng.random((count, 1)) < 0.30
    reversion = np.where(reverting, log_uniform(rng, 0.01, 0.5, count), 0.0)
    rows = first_order(shocks + drift, 1.0 - reversion)
    noisy = np.flatnonzero(chance(rng, 0.30, count))
    if noisy.size:
        size = log_uniform(rng, 0.3, 5.0, noisy.size)
        rows[noisy] += size * normal(rng, noisy.size, length)
    lifted = np.flatnonzero(chance(rng, 0.40, count))
    gain = log_uniform(rng, 0.05, 1.0, lifted.size)
    rows[lifted] = np.exp(np.clip(gain * standardized(rows[lifted]), -6.0, 6.0))
    return rows
