"""Strong, stable, growing seasons with little noise, as in tourism and retail figures."""

import numpy as np

from xlstmd.train.generators.noise import innovations, slow_path
from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    log_uniform,
    normal,
    pick,
    uniform,
)
from xlstmd.train.generators.seasons import draw_profile

PERIODS: dict[int, tuple[float, float]] = {64: (70, 30), 160: (40, 60), 320: (15, 85)}
"""Per bucket: shares of quarterly and monthly series."""


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws positive series [count, length]: growing level x fixed season x small noise."""
    shares = PERIODS[min(PERIODS, key=lambda bucket: abs(bucket - length))]
    periods = np.array([4.0, 12.0])[pick(rng, shares, count)][:, None]
    total = log_uniform(rng, 0.1, 2.5, count) * np.where(rng.random((count, 1)) < 0.85, 1, -1)
    roughness = log_uniform(rng, 0.005, 0.06, count)
    walk = np.cumsum(total / length + roughness * innovations(rng, count, length), axis=1)
    walk += log_uniform(rng, 0.02, 0.3, count) * slow_path(rng, count, length)
    strength = log_uniform(rng, 0.08, 0.9, count)
    profile = draw_profile(rng, periods, length)
    noise = log_uniform(rng, 0.005, 0.12, count) * innovations(rng, count, length)
    linked = np.flatnonzero(chance(rng, 0.3, count))
    noise[linked] = first_order(noise[linked], uniform(rng, 0.1, 0.7, linked.size))
    # Moving feasts and one-off events touch single points of the season only.
    moving = log_uniform(rng, 0.02, 0.2, count) * (rng.random((count, 1)) < 0.2)
    noise += moving * normal(rng, count, length) * (rng.random((count, length)) < 0.1)
    rows = walk + strength * profile + noise
    positive: Rows = np.exp(np.clip(rows - rows.mean(axis=1, keepdims=True), -5.0, 5.0))
    return positive
