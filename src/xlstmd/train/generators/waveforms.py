"""Machine-like shapes: steps, saws, squares, triangles, decaying pulses, two-state switching."""

import numpy as np

from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    log_uniform,
    normal,
    pick,
    standardized,
    uniform,
)
from xlstmd.train.generators.trends import draw_trends


def _cyclic(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws saw, square and triangle waves with a phase that starts anywhere."""
    period = log_uniform(rng, 4.0, length / 2.5, count)
    period = np.where(rng.random((count, 1)) < 0.7, np.rint(period), period)
    cycles = (np.arange(length)[None, :] + 1e-6) / period + rng.random((count, 1))
    phase = cycles - np.floor(cycles)
    duty = uniform(rng, 0.1, 0.9, count)
    saw = np.where(rng.random((count, 1)) < 0.5, phase, 1.0 - phase)
    square = (phase < duty).astype(np.float64)
    triangle = np.where(phase < duty, phase / duty, (1.0 - phase) / (1.0 - duty))
    kind = pick(rng, (1, 1, 1), count)[:, None]
    return np.where(kind == 0, saw, np.where(kind == 1, square, triangle))


def _pulses(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws pulses that start at random or regular times and decay exponentially."""
    gap = log_uniform(rng, 6.0, length / 3, count)
    random_starts = rng.random((count, length)) < 1.0 / gap
    step = np.arange(length)[None, :] + np.floor(rng.random((count, 1)) * gap)
    regular_starts = np.floor(step / gap) != np.floor((step - 1.0) / gap)
    starts = np.where(rng.random((count, 1)) < 0.5, random_starts, regular_starts)
    height = np.where(rng.random((count, 1)) < 0.5, 1.0, np.exp(0.5 * normal(rng, count, length)))
    return first_order(starts * height, np.exp(-1.0 / log_uniform(rng, 1.0, length / 8, count)))


def _switching(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws a two-state chain, or steps to a fresh level at each switch."""
    stay = log_uniform(rng, 4.0, length / 3, count)
    switched = rng.random((count, length)) < 1.0 / stay
    state = np.cumsum(switched, axis=1, dtype=np.int64)
    levels = rng.standard_normal((count, int(state.max(initial=0)) + 1))
    fresh = np.take_along_axis(levels, state, axis=1)
    return np.where(rng.random((count, 1)) < 0.5, state % 2, fresh)


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length], some on a trend, with little noise."""
    kind = pick(rng, (50, 22, 28), count)
    rows = np.empty((count, length))
    for index, family in enumerate((_cyclic, _pulses, _switching)):
        chosen = np.flatnonzero(kind == index)
        if chosen.size:
            rows[chosen] = standardized(family(rng, chosen.size, length))
    leaning = np.flatnonzero(chance(rng, 0.45, count))
    if leaning.size:
        scale = log_uniform(rng, 0.1, 2.0, leaning.size)
        rows[leaning] += scale * draw_trends(rng, leaning.size, length)
    return rows + log_uniform(rng, 0.001, 0.15, count) * normal(rng, count, length)
