"""Trend, season and noise put together: the largest family."""

from dataclasses import dataclass

import numpy as np

from xlstmd.train.generators.noise import observation_noise
from xlstmd.train.generators.periods import draw_periods, second_periods
from xlstmd.train.generators.rows import (
    Rows,
    log_uniform,
    pick,
    standardized,
    uniform,
)
from xlstmd.train.generators.seasons import draw_seasons
from xlstmd.train.generators.trends import draw_trends


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The parts of a batch of series, each already at its scale."""

    trend: Rows
    season: Rows
    noise: Rows


def draw_components(rng: np.random.Generator, count: int, length: int) -> Components:
    """Draws trend, season (one in four with a second, longer one) and noise."""
    periods = draw_periods(rng, count, length)
    season = draw_seasons(rng, periods, length)
    longer = second_periods(rng, periods, length, 0.25)
    season += log_uniform(rng, 0.2, 1.2, count) * draw_seasons(rng, longer, length)
    return Components(
        trend=log_uniform(rng, 0.05, 3.0, count) * draw_trends(rng, count, length),
        season=log_uniform(rng, 0.03, 1.5, count) * season,
        noise=log_uniform(rng, 0.008, 1.0, count) * observation_noise(rng, count, length),
    )


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length]: additive, exponentiated or multiplied."""
    parts = draw_components(rng, count, length)
    added = parts.trend + parts.season + parts.noise
    gain = log_uniform(rng, 0.15, 1.1, count)
    exponentiated = np.exp(np.clip(gain * standardized(added), -6.0, 6.0))
    # The level stays positive: it starts from a floor and the trend rides on it.
    span = np.maximum(np.ptp(parts.trend, axis=1, keepdims=True), 1e-9)
    rise = (parts.trend - parts.trend.min(axis=1, keepdims=True)) / span
    level = 1.0 + log_uniform(rng, 0.1, 8.0, count) * rise * (span > 1e-6)
    swing = uniform(rng, 0.3, 1.0, count) * np.tanh(0.6 * parts.season)
    multiplied = level * (1.0 + swing) * (1.0 + np.maximum(0.4 * parts.noise, -0.9))
    kind = pick(rng, (45, 30, 25), count)[:, None]
    return np.where(kind == 0, added, np.where(kind == 1, exponentiated, multiplied))
