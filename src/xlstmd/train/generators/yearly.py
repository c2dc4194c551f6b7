"""Yearly figures: few points, growth that persists, shocks that grow with the level."""

import numpy as np

from xlstmd.train.generators.noise import innovations
from xlstmd.train.generators.recursions import first_order
from xlstmd.train.generators.rows import (
    Rows,
    chance,
    clock,
    log_uniform,
    pick,
    uniform,
)


def generate(rng: np.random.Generator, count: int, length: int) -> Rows:
    """Draws positive series [count, length] whose logarithm grows at a slowly changing rate.

    The rate per point does not depend on the length: a year's growth is a year's growth, however
    many years were recorded.
    """
    size = log_uniform(rng, 0.01, 0.2, count)
    # Growth now is growth before plus a surprise; most series grow, some shrink.
    typical = np.where(
        rng.random((count, 1)) < 0.8, log_uniform(rng, 0.005, 0.15, count),
        -log_uniform(rng, 0.003, 0.06, count),
    )  # fmt: skip
    memory = uniform(rng, 0.3, 0.97, count)
    surprise = innovations(rng, count, length)
    swing = size * log_uniform(rng, 0.1, 0.7, count)
    rate = typical + first_order(swing * surprise, memory) * np.sqrt(1.0 - memory**2)
    turning = np.flatnonzero(chance(rng, 0.35, count))
    # A break: from some year on the economy grows at another rate.
    after = clock(length) > uniform(rng, 0.1, 1.0, turning.size)
    rate[turning] += after * typical[turning] * uniform(rng, -2.0, 1.5, turning.size)
    level = np.cumsum(rate + size * innovations(rng, count, length), axis=1)
    measured = level + 0.5 * size * innovations(rng, count, length) * (rng.random((count, 1)) < 0.4)
    measured -= measured.mean(axis=1, keepdims=True)
    compound = np.exp(np.clip(measured, -6.0, 6.0))
    # Other series grow by amounts, not by rates, their shocks still follow the level.
    amounts = np.cumsum(np.abs(typical) + rate, axis=1)
    amounts += 1.0 - np.minimum(amounts.min(axis=1, keepdims=True), 0.0)
    straight = amounts * np.exp(np.clip(first_order(size * surprise, memory), -3.0, 3.0))
    kind = pick(rng, (75, 25), count)[:, None]
    return np.where(kind == 0, compound, straight)
