"""Trends: the slow part of a series, relative to its own length."""

from collections.abc import Callable

import numpy as np

from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    clock,
    log_uniform,
    normal,
    pick,
    sign,
    standardized,
    uniform,
)


def _linear(rng: np.random.Generator, count: int, length: int) -> Rows:
    return sign(rng, 0.6, count) * clock(length)


def _exponential(rng: np.random.Generator, count: int, length: int) -> Rows:
    rate = uniform(rng, 0.5, 4.0, count) * sign(rng, 0.7, count)
    return sign(rng, 0.8, count) * np.exp(rate * clock(length))


def _logistic(rng: np.random.Generator, count: int, length: int) -> Rows:
    center = uniform(rng, -0.1, 1.1, count)
    width = log_uniform(rng, 0.02, 0.3, count)
    steepness = np.clip((clock(length) - center) / width, -50.0, 50.0)
    return sign(rng, 0.65, count) / (1.0 + np.exp(-steepness))


def _piecewise_linear(rng: np.random.Generator, count: int, length: int) -> Rows:
    time = clock(length)
    rows = rng.standard_normal((count, 1)) * time
    for _ in range(3):
        kink = uniform(rng, 0.0, 1.0, count)
        rows += 2.0 * rng.standard_normal((count, 1)) * np.maximum(time - kink, 0.0)
    return rows


def _random_walk(rng: np.random.Generator, count: int, length: int) -> Rows:
    return np.cumsum(normal(rng, count, length), axis=1)


def _damped_local_linear(rng: np.random.Generator, count: int, length: int) -> Rows:
    damping = 1.0 - log_uniform(rng, 0.3 / length, 0.2, count)
    shocks = normal(rng, count, length)
    shocks[:, :1] *= np.minimum(1.0 / np.sqrt(1.0 - damping**2), 6.0)
    return np.cumsum(first_order(shocks, damping), axis=1)


def _level_steps(rng: np.random.Generator, count: int, length: int) -> Rows:
    time = clock(length)
    rows = np.zeros((count, length))
    for _ in range(4):
        size = rng.standard_normal((count, 1)) * (rng.random((count, 1)) < 0.6)
        rows += size * (time > uniform(rng, 0.05, 0.95, count))
    return rows


def _none(rng: np.random.Generator, count: int, length: int) -> Rows:  # noqa: ARG001 - all kinds of trend share a signature
    return np.zeros((count, length))


_KINDS: tuple[tuple[float, Callable[[np.random.Generator, int, int], Rows]], ...] = (
    (16, _linear),
    (9, _exponential),
    (6, _logistic),
    (11, _piecewise_linear),
    (22, _random_walk),
    (20, _damped_local_linear),
    (4, _level_steps),
    (12, _none),
)


def draw_trends(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws trends of mean 0 and deviation 1 over the window; one in nine is zero."""
    rows = np.zeros((count, length))
    kinds = pick(rng, [share for share, _ in _KINDS], count)
    for index, (_, kind) in enumerate(_KINDS):
        chosen = np.flatnonzero(kinds == index)
        if chosen.size:
            rows[chosen] = standardized(kind(rng, chosen.size, length))
    walking = np.flatnonzero(chance(rng, 0.30, count))
    if walking.size:
        walk = standardized(_random_walk(rng, walking.size, length))
        rows[walking] += log_uniform(rng, 0.05, 0.6, walking.size) * walk
    leaning = np.flatnonzero(chance(rng, 0.20, count))
    if leaning.size:
        line = standardized(_linear(rng, leaning.size, length))
        rows[leaning] += log_uniform(rng, 0.1, 1.0, leaning.size) * line
    return standardized(rows)
