"""Season lengths: how often each occurs per bucket of series length."""

import numpy as np

from xlstmd.train.generators.rows import Integers, Mask, Rows, chance, pick

BUCKETS = (64, 160, 320, 576, 1088, 2304)
"""Total lengths of the series in a pool, in points."""

NO_SEASON = 0
ANY_PERIOD = -1
"""Stands for a real period, log-uniform from 2 points to the length / 2.5."""

PERIODS: dict[int, dict[int, float]] = {
    64: {0: 31, 4: 25, 12: 19, 7: 8, 24: 2, 5: 2, 6: 2, 3: 1, 2: 1, -1: 9},
    160: {0: 15, 4: 25, 12: 31, 7: 10, 24: 4, 52: 4, 5: 1, 6: 1, -1: 9},
    320: {0: 14, 12: 26, 7: 19, 24: 11, 48: 6, 52: 4, 4: 6, 96: 3, 30: 1, -1: 10},
    576: {0: 12, 7: 21, 24: 19, 12: 9, 48: 7, 96: 8, 144: 3, 168: 4, 52: 5, 30: 2, -1: 10},
    1088: {
        0: 10, 24: 22, 7: 13, 48: 11, 96: 12, 168: 5, 144: 5, 288: 4, 12: 4, 52: 5, 30: 2,
        336: 1, -1: 6,
    },
    2304: {
        0: 9, 24: 22, 48: 11, 96: 15, 144: 6, 288: 8, 168: 4, 7: 9, 336: 2, 672: 2, 52: 4,
        12: 2, 365: 1, 30: 1, -1: 4,
    },
}  # fmt: skip
"""Per bucket: period in points -> share in percent."""

LONGER: dict[int, tuple[int, ...]] = {
    4: (20, 28),
    7: (30, 364),
    12: (4, 36, 60),
    24: (168,),
    48: (336,),
    52: (13, 104),
    96: (672,),
    144: (1008,),
    288: (2016,),
}
"""Second seasons that go with a first one."""


def bucket_of(length: int) -> int:
    """Gives the smallest bucket that holds the length, the longest for anything longer."""
    return next((bucket for bucket in BUCKETS if bucket >= length), BUCKETS[-1])


def draw_periods(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws a season length per series from the table of its bucket.

    Returns:
      Periods [count, 1] in points, 0 where there is no season.
    """
    table = PERIODS[bucket_of(length)]
    known = np.array(list(table), dtype=np.float64)
    periods = known[pick(rng, list(table.values()), count)]
    anywhere = np.exp(rng.uniform(np.log(2.0), np.log(length / 2.5), count))
    periods = np.where(periods == ANY_PERIOD, anywhere, periods)
    # A season must return at least once to be one.
    return np.where(periods > length / 1.5, NO_SEASON, periods)[:, None]


def whole(periods: Rows) -> Integers:
    """Rounds periods [count, 1] to whole points [count]."""
    return np.rint(periods[:, 0]).astype(np.int64)


def second_periods(rng: np.random.Generator, periods: Rows, length: int, share: float) -> Rows:
    """Draws the longer season that goes with the first one, 0 for the series that get none.

    Args:
      periods: first seasons [count, 1].
      length: points per series; a second season needs at least one and a half cycles.
      share: part of the eligible series that gets a second season.
    """
    count = periods.shape[0]
    chosen: Mask = chance(rng, share, count)
    position: Rows = rng.random((count,))
    out = np.zeros_like(periods)
    for first, candidates in LONGER.items():
        fitting = [period for period in candidates if period <= length / 1.5]
        if fitting:
            rows: Mask = chosen & (periods[:, 0] == first)
            choice = (position[rows] * len(fitting)).astype(np.int64)
            out[rows, 0] = np.array(fitting)[choice]
    return out
