"""Noise and slow random paths."""

import numpy as np

from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    clock,
    log_uniform,
    normal,
    standardized,
    uniform,
)

_FREEDOM = 3.5
_CLIP = 12.0


def innovations(rng: np.random.Generator, count: int, length: int, heavy: float = 0.4) -> Rows:
    """Draws independent values of variance 1, a share `heavy` of the series with heavy tails."""
    rows = normal(rng, count, length)
    tailed = np.flatnonzero(chance(rng, heavy, count))
    if tailed.size:
        gamma = rng.standard_gamma(_FREEDOM / 2, (tailed.size, length), dtype=np.float32)
        scale = np.sqrt(gamma / np.float32((_FREEDOM - 2) / 2))
        rows[tailed] = np.clip(rows[tailed] / np.maximum(scale, 1e-3), -_CLIP, _CLIP)
    return rows


def slow_path(rng: np.random.Generator, count: int, length: int, waves: int = 5) -> Rows:
    """Draws smooth paths of mean 0 and deviation 1 from a few cosines over the whole window."""
    order = np.arange(1, waves + 1)[:, None]
    basis = np.cos(np.pi * order * clock(length))
    weights = rng.standard_normal((count, waves)) / order[:, 0]
    return standardized(weights @ basis)


def observation_noise(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws noise of variance 1: mostly white, partly heavy-tailed, changing or autocorrelated."""
    rows = innovations(rng, count, length)
    changing = np.flatnonzero(chance(rng, 0.12, count))
    if changing.size:
        strength = uniform(rng, 0.3, 1.0, changing.size)
        rows[changing] *= np.exp(strength * slow_path(rng, changing.size, length))
    linked = np.flatnonzero(chance(rng, 0.30, count))
    if linked.size:
        rows[linked] = first_order(rows[linked], uniform(rng, -0.4, 0.95, linked.size))
    return standardized(rows)


def persistent_path(rng: np.random.Generator, memory: Rows, length: int) -> Rows:
    """Draws AR(1) paths of deviation 1 whose autocorrelation falls to 1/e after `memory` points.

    Args:
      memory: [count, 1] in points, above 0.5.
      length: points per path.
    """
    coefficient = np.exp(-1.0 / memory)
    shocks = normal(rng, memory.shape[0], length)
    # The first value is drawn from the stationary law, so that no path starts at zero.
    shocks[:, :1] /= np.sqrt(1.0 - coefficient**2)
    return standardized(first_order(shocks, coefficient))


def smooth_path(rng: np.random.Generator, scale: Rows, length: int) -> Rows:
    """Draws Gaussian paths with a squared-exponential kernel, deviation 1.

    Args:
      scale: correlation length [count, 1] in points.
      length: points per path.
    """
    # Twice the length, so that the cyclic end does not touch the start.
    size = 2 * length
    spectrum = np.exp(-np.square(np.pi * np.fft.rfftfreq(size)[None, :] * scale))
    return from_spectrum(rng, spectrum, length)


def from_spectrum(rng: np.random.Generator, amplitudes: Rows, length: int) -> Rows:
    """Draws Gaussian paths with given amplitudes per frequency, standardized.

    Args:
      amplitudes: [count, length + 1], for the frequencies of `rfftfreq(2 * length)`.
      length: points per path.
    """
    count, bins = amplitudes.shape
    draws = rng.standard_normal((count, bins, 2), dtype=np.float32)
    coefficients = amplitudes * draws.view(np.complex64)[:, :, 0]
    coefficients[:, 0] = 0.0
    start = rng.integers(0, length)
    return standardized(np.fft.irfft(coefficients, 2 * length)[:, start : start + length])


def scaled(rng: np.random.Generator, rows: Rows, low: float, high: float) -> Rows:
    """Multiplies every row by a log-uniform factor."""
    return rows * log_uniform(rng, low, high, rows.shape[0])
