"""Counts of events: whole numbers around a structured intensity, often zero."""

import numpy as np

from xlstmd.train.generators.rows import Rows, chance, log_uniform, standardized, uniform
from xlstmd.train.generators.structural import draw_components


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length], Poisson or with larger spread, a third with extra zeros."""
    parts = draw_components(rng, count, length)
    shape = standardized(parts.trend + parts.season + 0.3 * parts.noise)
    shape = np.exp(np.clip(log_uniform(rng, 0.1, 1.0, count) * shape, -5.0, 5.0))
    mean = log_uniform(rng, 0.1, 40.0, count)
    intensity = mean * shape / shape.mean(axis=1, keepdims=True)
    spread = np.flatnonzero(chance(rng, 0.5, count))
    if spread.size:
        size = log_uniform(rng, 0.5, 20.0, spread.size)
        draws = rng.standard_gamma(np.broadcast_to(size, (spread.size, length)))
        intensity[spread] *= draws / size
    rows: Rows = rng.poisson(intensity).astype(np.float64)
    inflated = np.flatnonzero(chance(rng, 0.30, count))
    absent = rng.random((inflated.size, length)) < uniform(rng, 0.1, 0.8, inflated.size)
    rows[inflated] *= ~absent
    return rows
