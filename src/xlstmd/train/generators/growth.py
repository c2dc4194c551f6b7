"""Growth and outbreak curves: waves, cumulated or not, cut at any point."""

import numpy as np

from xlstmd.train.generators.noise import innovations
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    clock,
    log_uniform,
    normal,
    pick,
    uniform,
)

_MOST_WAVES = 4


def _waves(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws one to four one-peaked waves, each with its own rise and fall."""
    time = clock(length)
    number = 1 + pick(rng, (45, 30, 15, 10), count)[:, None]
    rows = np.zeros((count, length))
    for index in range(_MOST_WAVES):
        # Centers reach beyond the end, so that many curves are cut while still rising.
        center = uniform(rng, -0.05, 1.25, count)
        rise = log_uniform(rng, 0.008, 0.15, count)
        fall = rise * log_uniform(rng, 0.7, 5.0, count)
        height = log_uniform(rng, 0.15, 1.0, count) * (index < number)
        distance = time - center
        scaled = np.clip(distance / np.where(distance < 0, rise, fall), -40.0, 40.0)
        rows += height / np.square(np.cosh(0.5 * scaled))
    return rows


def _observed(rng: np.random.Generator, waves: Rows) -> Rows:
    """Turns waves into daily numbers: whole, with a weekly pattern and late reports."""
    count, length = waves.shape
    peak = np.maximum(waves.max(axis=1, keepdims=True), 1e-9)
    intensity = waves / peak * log_uniform(rng, 2.0, 2e4, count)
    weekly = np.exp(log_uniform(rng, 0.03, 0.6, count) * rng.standard_normal((count, 7)))
    pattern = np.tile(weekly, (1, -(-length // 7)))[:, :length]
    intensity *= np.where(rng.random((count, 1)) < 0.6, pattern, 1.0)
    spread = log_uniform(rng, 0.02, 0.4, count) * (rng.random((count, 1)) < 0.6)
    intensity *= np.exp(np.clip(spread * innovations(rng, count, length), -3.0, 3.0))
    rows: Rows = rng.poisson(np.minimum(intensity, 1e7)).astype(np.float64)
    late = np.flatnonzero(chance(rng, 0.08, count))
    skipped = rng.random((late.size, length)) < uniform(rng, 0.05, 0.4, late.size)
    rows[late] *= ~skipped
    return rows


def _curves(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws smooth saturating curves (generalized logistic), from flat starts to cut rises."""
    center = uniform(rng, 0.0, 1.3, count)
    width = log_uniform(rng, 0.015, 0.2, count)
    skew = log_uniform(rng, 0.2, 3.0, count)
    argument = np.clip((center - clock(length)) / width, -30.0, 30.0)
    rows: Rows = (1.0 + np.exp(argument)) ** (-1.0 / skew)
    span = np.maximum(np.ptp(rows, axis=1, keepdims=True), 1e-12)
    rows += log_uniform(rng, 1e-4, 0.03, count) * span * normal(rng, count, length)
    return rows


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length]; three quarters of the counted ones are cumulated."""
    smooth = chance(rng, 0.18, count)
    rows = np.empty((count, length))
    rows[smooth] = _curves(rng, int(smooth.sum()), length)
    counted = np.flatnonzero(~smooth)
    daily = _observed(rng, _waves(rng, counted.size, length))
    total = chance(rng, 0.75, counted.size)
    daily[total] = np.cumsum(daily[total], axis=1)
    rows[counted] = daily
    return rows
