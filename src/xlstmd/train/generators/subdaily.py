"""Sub-daily telemetry: load, traffic, solar, temperature and machine sensors."""

import numpy as np

from xlstmd.train.generators.noise import innovations, persistent_path, smooth_path
from xlstmd.train.generators.periods import bucket_of
from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Integers,
    Mask,
    Rows,
    chance,
    log_uniform,
    normal,
    pick,
    standardized,
    uniform,
)
from xlstmd.train.generators.seasons import draw_profile

DAYS: dict[int, dict[int, float]] = {
    320: {24: 60, 48: 30, 96: 10},
    576: {24: 33, 48: 20, 96: 32, 144: 11, 288: 4},
    1088: {24: 26, 48: 18, 96: 33, 144: 14, 288: 9},
    2304: {24: 22, 48: 16, 96: 33, 144: 14, 288: 15},
}
"""Per bucket: points per day -> share in percent."""


def _bumps(rng: np.random.Generator, phase: Rows) -> Rows:
    """Draws a day of one to four rounded peaks, as people make them."""
    count = phase.shape[0]
    rows = np.zeros_like(phase)
    for index in range(4):
        center = uniform(rng, 0.0, 1.0, count)
        width = log_uniform(rng, 0.02, 0.2, count)
        height = log_uniform(rng, 0.2, 1.0, count) * (index < rng.integers(1, 5, (count, 1)))
        sharpness = 1.0 / np.square(2.0 * np.pi * width)
        rows += height * np.exp(sharpness * (np.cos(2.0 * np.pi * (phase - center)) - 1.0))
    return rows


def _daylight(rng: np.random.Generator, phase: Rows) -> Rows:
    """Draws a day of sun: zero at night, a dome between dawn and dusk."""
    count = phase.shape[0]
    half = uniform(rng, 0.17, 0.33, count)
    distance = np.abs(phase - uniform(rng, 0.4, 0.6, count))
    dome = np.cos(0.5 * np.pi * np.minimum(distance / half, 1.0))
    return np.maximum(dome, 0.0) ** uniform(rng, 0.7, 2.0, count)


def _harmonics(rng: np.random.Generator, phase: Rows) -> Rows:
    """Draws a rounded day with a half-day overtone, as temperature has it."""
    count = phase.shape[0]
    shift = rng.random((count, 1))
    overtone = uniform(rng, 0.0, 0.5, count)
    angle = 2.0 * np.pi * (phase + shift)
    return np.cos(angle) + overtone * np.cos(2.0 * angle + 6.3 * rng.random((count, 1)))


def _shape(rng: np.random.Generator, phase: Rows, kinds: Integers) -> Rows:
    """Draws the day [count, length] along the given phases (0 to 1), values 0 to about 1."""
    rows = np.empty_like(phase)
    for index, family in enumerate((_bumps, _daylight, _harmonics)):
        chosen = np.flatnonzero(kinds[:, 0] == index)
        if chosen.size:
            rows[chosen] = family(rng, phase[chosen])
    low = rows.min(axis=1, keepdims=True)
    scaled: Rows = (rows - low) / np.maximum(np.ptp(rows, axis=1, keepdims=True), 1e-9)
    return scaled


def _per_day(rng: np.random.Generator, day: Rows, spread: Rows) -> Rows:
    """Draws a positive factor per day that remembers the day before."""
    count = day.shape[0]
    index = day.astype(np.int64)
    number = int(index.max(initial=0)) + 1
    memory = uniform(rng, 0.0, 0.9, count)
    path = first_order(rng.standard_normal((count, number)), memory) * np.sqrt(1 - memory**2)
    return np.exp(np.take_along_axis(np.clip(spread * path, -2.0, 1.5), index, axis=1))


def _slow(rng: np.random.Generator, points_per_day: Rows, length: int) -> Rows:
    """Draws the path under the days: weather, drift, level; smooth or with a long memory."""
    count = points_per_day.shape[0]
    rough = chance(rng, 0.5, count)
    memory = points_per_day * log_uniform(rng, 0.2, 8.0, count)
    scale = points_per_day * log_uniform(rng, 0.1, 3.0, count)
    rows = np.empty((count, length))
    rows[rough] = persistent_path(rng, memory[rough], length)
    rows[~rough] = smooth_path(rng, scale[~rough], length)
    return rows


def _jumps(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws rare lasting level changes, for one series in eight."""
    sizes = normal(rng, count, length) * (rng.random((count, length)) < 2.5 / length)
    return np.cumsum(sizes, axis=1) * (rng.random((count, 1)) < 0.12)


def _weeks(rng: np.random.Generator, cycles: Rows, points_per_day: Rows, kinds: Integers) -> Rows:
    """Draws days [count, length] that vary from day to day and, for half of them, rest on weekends.

    Args:
      rng: source of all randomness.
      cycles: time in days since some midnight [count, length].
      points_per_day: [count, 1].
      kinds: 0 activity, 1 sun, 2 rounded, 3 any profile, [count, 1].
    """
    count, length = cycles.shape
    day = np.floor(cycles)
    phase = cycles - day
    shape = _shape(rng, phase, np.minimum(kinds, 2))
    other = np.flatnonzero(kinds[:, 0] == 3)
    if other.size:
        profile = draw_profile(rng, points_per_day[other], length)
        span = np.maximum(np.ptp(profile, axis=1, keepdims=True), 1e-9)
        shape[other] = (profile - profile.min(axis=1, keepdims=True)) / span
    solar = kinds == 1
    weekend = (day % 7 >= 5) & (rng.random((count, 1)) < 0.55) & ~solar
    # The weekend has the same day, only smaller, or a day of its own.
    same = rng.random((count, 1)) < 0.5
    resting = np.where(same, shape, _shape(rng, phase, np.minimum(kinds, 2)))
    shape = np.where(weekend, uniform(rng, 0.2, 1.1, count) * resting, shape)
    shape = shape - weekend * uniform(rng, 0.0, 0.4, count)
    spread = np.where(solar, uniform(rng, 0.1, 0.7, count), log_uniform(rng, 0.01, 0.35, count))
    varied: Rows = shape * _per_day(rng, day - day.min(axis=1, keepdims=True), spread)
    return varied


def _sensor_noise(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws noise relative to a day of height 1: mostly small, one series in seven noisy."""
    noisy = rng.random((count, 1)) < 0.15
    rough, fine = log_uniform(rng, 0.15, 0.8, count), log_uniform(rng, 0.003, 0.15, count)
    rows = innovations(rng, count, length)
    linked = np.flatnonzero(chance(rng, 0.5, count))
    memory = uniform(rng, 0.2, 0.95, linked.size)
    rows[linked] = first_order(rows[linked], memory) * np.sqrt(1 - memory**2)
    return np.where(noisy, rough, fine) * rows


def _plateaued(rng: np.random.Generator, rows: Rows, eligible: Mask) -> Rows:
    """Lets some series stand at zero much of the time, as pumps, wind and rain do.

    A third of those have a ceiling too: full power.
    """
    floored = np.flatnonzero(chance(rng, 0.12, rows.shape[0]) & eligible)
    part = standardized(rows[floored])
    part = np.maximum(part - uniform(rng, -1.0, 0.8, floored.size), 0.0)
    limited = rng.random((floored.size, 1)) < 0.3
    ceiling = np.where(limited, uniform(rng, 0.8, 2.0, floored.size), np.inf)
    rows[floored] = np.minimum(part, ceiling)
    return rows


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length] with days, weekends, slow paths and plateaus."""
    table = DAYS[max(min(DAYS), bucket_of(length))]
    points = np.array(list(table), dtype=np.float64)[pick(rng, list(table.values()), count)]
    points_per_day = points[:, None]
    cycles = (np.arange(length)[None, :] + 1e-6) / points_per_day
    cycles += np.floor(rng.random((count, 1)) * 7 * points_per_day) / points_per_day
    kinds = pick(rng, (40, 15, 25, 20), count)[:, None]
    solar = kinds == 1
    shape = _weeks(rng, cycles, points_per_day, kinds)
    slow = _slow(rng, points_per_day, length)
    path = log_uniform(rng, 0.03, 1.5, count) * slow + _jumps(rng, count, length)
    noise = _sensor_noise(rng, count, length)

    added = shape + path + noise
    lift = uniform(rng, 0.15, 1.0, count)
    multiplied = (lift + shape) * np.exp(np.clip(0.4 * path + 0.6 * noise, -3.0, 3.0))
    # Clouds take away from the clear day, they never add; the night stays exactly zero.
    clouds = 1.0 / (1.0 + np.exp(np.clip(2.5 * slow - uniform(rng, -1, 3, count), -30.0, 30.0)))
    sun = shape * clouds * np.maximum(1.0 + 2.0 * noise * (1.0 - clouds), 0.0)
    kind = pick(rng, (60, 40), count)[:, None]
    rows = np.where(solar, sun, np.where(kind == 0, added, multiplied))
    return _plateaued(rng, rows, ~solar[:, 0])
