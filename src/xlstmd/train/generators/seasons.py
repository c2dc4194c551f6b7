"""Seasons: a profile repeated with a period, possibly drifting."""

import numpy as np

from xlstmd.train.generators.noise import slow_path
from xlstmd.train.generators.periods import whole
from xlstmd.train.generators.rows import (
    Integers,
    Rows,
    chance,
    clock,
    log_uniform,
    normal,
    pick,
    standardized,
    uniform,
)

_HARMONICS = 6
# Above this many points a profile of independent values is no daily or weekly shape any more.
_LONG_PERIOD = 20


def _smoothed(rng: np.random.Generator, table: Rows, sizes: Integers) -> Rows:
    """Averages profiles of long periods around their circle, each row over a width of its own."""
    out = table
    for size in np.unique(sizes[sizes >= _LONG_PERIOD]):
        chosen = np.flatnonzero((sizes == size) & chance(rng, 0.8, sizes.size))
        if chosen.size:
            width = log_uniform(rng, 0.01, 0.15, chosen.size)
            order = np.arange(size // 2 + 1)[None, :]
            spectrum = np.fft.rfft(table[chosen, :size]) * np.exp(-np.square(order * width * 3.0))
            out[chosen, :size] = np.fft.irfft(spectrum, int(size))
    return out


def _tabulated(rng: np.random.Generator, kinds: Integers, periods: Rows, length: int) -> Rows:
    """Draws a value per phase (kind 0), a few spikes (kind 1) or on and off (kind 2)."""
    count = kinds.size
    sizes = np.maximum(whole(periods), 2)
    widest = int(sizes.max())
    position = np.arange(widest)[None, :] / sizes[:, None]
    values = _smoothed(rng, normal(rng, count, widest), sizes)
    spikes = np.zeros((count, widest))
    for _ in range(3):
        center = rng.random((count, 1))
        reach = np.maximum(0.5 / sizes[:, None], log_uniform(rng, 0.005, 0.06, count))
        present = rng.random((count, 1)) < 0.7
        height = rng.standard_normal((count, 1)) + 1.5
        distance = np.abs(position - center)
        near = np.minimum(distance, 1.0 - distance) <= reach
        spikes += present * height * near
    duty = uniform(rng, 0.1, 0.7, count)
    switched = (position < np.maximum(duty, 1.0 / sizes[:, None])).astype(np.float64)
    table = np.where(kinds[:, None] == 0, values, np.where(kinds[:, None] == 1, spikes, switched))
    phase = _phase(rng, periods, length)
    index = np.minimum((phase * sizes[:, None]).astype(np.int64), sizes[:, None] - 1)
    return np.take_along_axis(table, index, axis=1)


def _phase(rng: np.random.Generator, periods: Rows, length: int) -> Rows:
    """Gives the position within the cycle, 0 to 1, of every point; starts anywhere."""
    count = periods.shape[0]
    # A whole offset keeps the points of whole periods at the same places of every cycle; the
    # small shift keeps rounding from moving a point to the neighboring place.
    offset = np.floor(rng.random((count, 1)) * periods)
    cycles = (np.arange(length)[None, :] + offset + 1e-6) / periods
    return cycles - np.floor(cycles)


def _fourier(rng: np.random.Generator, periods: Rows, length: int) -> Rows:
    """Draws up to six harmonics whose weight falls with a random power of their order."""
    count = periods.shape[0]
    order = np.arange(1, _HARMONICS + 1)[None, :]
    decay = uniform(rng, 0.0, 2.0, count)
    highest = rng.integers(1, _HARMONICS + 1, (count, 1))
    weights = rng.standard_normal((count, _HARMONICS, 2)).view(np.complex128)[:, :, 0]
    # Orders above half the period would be copies of lower ones.
    weights *= order ** (-decay) * (order <= np.minimum(highest, np.maximum(periods / 2, 1)))
    circle = np.exp(2j * np.pi * _phase(rng, periods, length))
    total = np.zeros((count, length), dtype=np.complex128)
    for index in reversed(range(_HARMONICS)):
        total += weights[:, index : index + 1]
        total *= circle
    return total.real


def draw_profile(rng: np.random.Generator, periods: Rows, length: int) -> Rows:
    """Draws unchanging seasons of deviation 1.

    Args:
      periods: [count, 1] in points, all above 1.
      length: points per series.
    """
    count = periods.shape[0]
    kinds = pick(rng, (35, 15, 7, 43), count)
    rows = np.empty((count, length))
    smooth = np.flatnonzero(kinds == 3)
    if smooth.size:
        rows[smooth] = _fourier(rng, periods[smooth], length)
    table = np.flatnonzero(kinds < 3)
    if table.size:
        rows[table] = _tabulated(rng, kinds[table], periods[table], length)
    return standardized(rows)


def draw_seasons(rng: np.random.Generator, periods: Rows, length: int) -> Rows:
    """Draws seasons of deviation about 1: some grow or shrink, some turn into another shape.

    Args:
      periods: [count, 1] in points; rows with 0 stay zero.
      length: points per series.
    """
    out = np.zeros((periods.shape[0], length))
    present = np.flatnonzero(periods[:, 0] > 1)
    if not present.size:
        return out
    rows = draw_profile(rng, periods[present], length)
    morphing = np.flatnonzero(chance(rng, 0.15, present.size))
    if morphing.size:
        other = draw_profile(rng, periods[present][morphing], length)
        center = uniform(rng, 0.0, 1.0, morphing.size)
        width = log_uniform(rng, 0.03, 0.5, morphing.size)
        share = 1.0 / (1.0 + np.exp(np.clip((center - clock(length)) / width, -50.0, 50.0)))
        rows[morphing] = (1.0 - share) * rows[morphing] + share * other
    drifting = np.flatnonzero(chance(rng, 0.35, present.size))
    if drifting.size:
        path = slow_path(rng, drifting.size, length, waves=3)
        rows[drifting] *= np.exp(uniform(rng, 0.1, 0.8, drifting.size) * path)
    out[present] = rows
    return out
