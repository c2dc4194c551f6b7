"""Gaussian processes drawn through their spectrum."""

import numpy as np

from xlstmd.train.generators.noise import from_spectrum
from xlstmd.train.generators.periods import draw_periods
from xlstmd.train.generators.rows import (
    Rows,
    clock,
    log_uniform,
    normal,
    sign,
    uniform,
)
from xlstmd.train.generators.seasons import draw_seasons


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length]: a power law or a smooth kernel, with peaks, season, line."""
    frequency = np.fft.rfftfreq(2 * length)[None, :]
    floor = 1.0 / (2 * length)
    power_law = np.maximum(frequency, floor) ** (-uniform(rng, 0.0, 3.0, count) / 2)
    scale = log_uniform(rng, 2.0, length / 2, count)
    smooth = np.exp(-np.square(np.pi * frequency * scale))
    amplitudes = np.where(rng.random((count, 1)) < 0.55, power_law, smooth)
    amplitudes /= np.sqrt(np.sum(np.square(amplitudes), axis=1, keepdims=True))
    for share in (0.4, 0.2):
        center = 1.0 / log_uniform(rng, 2.5, length / 3, count)
        width = np.maximum(center * log_uniform(rng, 0.002, 0.1, count), floor)
        peak = np.exp(-0.5 * np.square((frequency - center) / width))
        peak /= np.sqrt(np.sum(np.square(peak), axis=1, keepdims=True))
        height = log_uniform(rng, 0.2, 2.0, count) * (rng.random((count, 1)) < share)
        amplitudes = np.hypot(amplitudes, height * peak)
    rows = from_spectrum(rng, amplitudes, length)
    periods = draw_periods(rng, count, length) * (rng.random((count, 1)) < 0.5)
    rows += log_uniform(rng, 0.1, 2.0, count) * draw_seasons(rng, periods, length)
    slope = log_uniform(rng, 0.3, 5.0, count) * sign(rng, 0.6, count)
    rows += slope * (rng.random((count, 1)) < 0.4) * clock(length)
    white = log_uniform(rng, 0.01, 0.3, count) * (rng.random((count, 1)) < 0.5)
    return rows + white * normal(rng, count, length)
