"""Exponential smoothing run forward: level, trend and season learn from the same shocks."""

import numpy as np

from xlstmd.train.generators.noise import innovations
from xlstmd.train.generators.periods import draw_periods, whole
from xlstmd.train.generators.recursions import delayed, first_order, seasonal
from xlstmd.train.generators.rows import Rows, chance, log_uniform, standardized, uniform
from xlstmd.train.generators.seasons import draw_profile


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws series [count, length] of the additive-error model, a third of them exponentiated.

    Source: Hyndman et al., Forecasting with Exponential Smoothing, the innovations state space
    form: y = l' + d b' + s' + e; l = l' + d b' + a e; b = d b' + c e; s = s' + g e.
    """
    level_gain = rng.beta(1.0, 2.0, (count, 1))
    trend_gain = level_gain * rng.beta(1.0, 6.0, (count, 1)) * (rng.random((count, 1)) < 0.6)
    season_gain = rng.beta(1.0, 6.0, (count, 1))
    damped = rng.random((count, 1)) < 0.5
    damping = np.where(damped, uniform(rng, 0.8, 1.0, count), 1.0)
    periods = draw_periods(rng, count, length)
    lags = whole(periods)
    shocks = innovations(rng, count, length, heavy=0.25)

    start = np.zeros((count, length))
    # A first slope that, undamped, moves the level by a few shocks' sizes over the window.
    start[:, :1] = rng.standard_normal((count, 1)) * log_uniform(rng, 0.3, 20.0, count) / length
    slope = first_order(start + trend_gain * shocks, damping)
    before = np.concatenate([np.zeros((count, 1)), slope[:, :-1]], axis=1)
    level = np.cumsum(damping * before + level_gain * shocks, axis=1)
    rows: Rows = shocks + damping * before
    rows[:, 1:] += level[:, :-1]

    cyclic = np.flatnonzero(lags > 1)
    if cyclic.size:
        learned = seasonal(shocks[cyclic], lags[cyclic], np.ones((cyclic.size, 1)))
        profile = draw_profile(rng, periods[cyclic], length)
        strength = log_uniform(rng, 0.3, 12.0, cyclic.size)
        rows[cyclic] += strength * profile
        rows[cyclic] += season_gain[cyclic] * delayed(learned, lags[cyclic])
    lifted = np.flatnonzero(chance(rng, 0.35, count))
    gain = log_uniform(rng, 0.1, 1.0, lifted.size)
    rows[lifted] = np.exp(np.clip(gain * standardized(rows[lifted]), -6.0, 6.0))
    return rows
