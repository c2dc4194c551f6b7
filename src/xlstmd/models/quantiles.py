"""Quantile functions out of a few levels: any level, the level of a value, the mean. NumPy only.

Between the given levels the quantile function is linear; beyond the outermost ones the tails are
exponential, with the slope between the two outermost levels:

    Q(p) = Q_1 + s ln(p / p_1) for p < p_1,   s = (Q_2 - Q_1) / ln(p_2 / p_1)

and likewise above. The mean is the integral of that function over (0, 1).

The level of a value inverts that, but for what floats cannot hold: from a depth of D = 32 slopes on
(a probability below 1e-15) the exponential tail p = p_1 exp(-u), u = (Q_1 - x) / s, goes on as a
power law with the same value and slope there,

    ln p = ln p_1 - D (1 + ln(u / D)) for u > D,

so that it stays finite and strictly ordered to the ends of float64. A slope of 0, as of a constant
series, counts as the distance of two floats there.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.quantile_plan import QuantilePlan
from xlstmd.ops.native import load_native

Floats = NDArray[np.float64]

MEAN_METHOD = "quantile_integral"

_FLOAT = np.finfo(np.float64)

# Depth in slopes at which an exponential tail becomes a power law.
_DEEP = 32.0


class InUnits(NamedTuple):
    """Forecasts of S series over Z points, in their units.

    Attributes:
      mean: [S, Z].
      median: [S, Z].
      quantiles: [S, Z, wanted levels but the median].
      finite: [S], whether all numbers of a series are.
    """

    mean: Floats
    median: Floats
    quantiles: Floats
    finite: NDArray[np.bool_]


def at_levels(quantiles: Floats, known: Sequence[float], wanted: Sequence[float]) -> Floats:
    """Gives other levels of quantile functions.

    Args:
      quantiles: [..., Q], not falling.
      known: their Q levels, rising.
      wanted: strictly between 0 and 1, in any order.

    Returns:
      [..., number of wanted levels], in their order; a higher level never has a lower value.
    """
    return _planned(quantiles, QuantilePlan.of(known, wanted))


def in_units(raw: Floats, means: Floats, deviations: Floats, plan: QuantilePlan) -> InUnits:
    """Brings scaled quantiles into order and into the units of their series.

    Args:
      raw: [S, Z, Q], in any order along the last axis.
      means: of the scale, [S, Z], or [S, 1] where a series has one.
      deviations: likewise.
      plan: of Q known levels; the median is the last wanted one.
    """
    rising = np.sort(raw, axis=-1)
    scale, shift = deviations[..., None], means[..., None]
    with np.errstate(over="ignore", invalid="ignore"):
        asked = _planned(rising, plan) * scale + shift
        average = _mean(rising, plan) * scale[..., 0] + shift[..., 0]
    finite = np.logical_and.reduce(np.isfinite(asked), axis=(1, 2))
    finite &= np.logical_and.reduce(np.isfinite(average), axis=1)
    return InUnits(average, asked[..., -1].copy(), asked[..., :-1].copy(), finite)


@cache
def best_in_units() -> Callable[[Floats, Floats, Floats, QuantilePlan], InUnits]:
    """Gives the native form of `in_units` where the library is there, else the definition."""
    if load_native().library is None:
        return in_units
    from xlstmd.models.native_quantiles import in_units as native_in_units

    return native_in_units


def levels_of(values: Floats, quantiles: Floats, known: Sequence[float]) -> tuple[Floats, Floats]:
    """Gives the levels at which values lie: the inverse of `at_levels`.

    Args:
      values: [N], up to 1e300 in size, NaN = missing.
      quantiles: [N, Q], finite, not falling.
      known: their Q levels, rising.

    Returns:
      Levels [N] within [0, 1], and the logarithms of the smaller tails, ln min(p, 1 - p) [N], which
      tell far values apart where the level has reached 0 or 1. A value that several known levels
      share lies in their middle. NaN for missing values.
    """
    levels = np.asarray(known)
    below = (quantiles < values[:, None]).sum(axis=1)
    upto = (quantiles <= values[:, None]).sum(axis=1)
    level = _inner_levels(values, quantiles, levels, below, upto)
    missing = np.isnan(values)
    level[missing] = np.nan
    tail = np.log(np.minimum(level, 1.0 - level))
    under, over = (upto == 0) & ~missing, below == len(levels)
    if under.any() or over.any():
        _put_outer(level, tail, values, quantiles, levels, under, over)
    return level, tail


def mean(quantiles: Floats, known: Sequence[float]) -> Floats:
    """Gives the mean of quantile functions [..., Q] with rising levels."""
    return _mean(quantiles, QuantilePlan.of(known, ()))


def _planned(quantiles: Floats, plan: QuantilePlan) -> Floats:
    result = np.empty((*quantiles.shape[:-1], len(plan.places)))
    low, high = _slopes(quantiles, plan)
    for index, (place, share) in enumerate(
        zip(plan.places.tolist(), plan.shares.tolist(), strict=True)
    ):
        if place < 0:
            result[..., index] = quantiles[..., 0] + low * share
        elif place >= plan.known:
            result[..., index] = quantiles[..., -1] - high * share
        elif share == 1.0:
            result[..., index] = quantiles[..., place]
        else:
            below, above = quantiles[..., place - 1], quantiles[..., place]
            result[..., index] = below + share * (above - below)
    return result


def _mean(quantiles: Floats, plan: QuantilePlan) -> Floats:
    low, high = _slopes(quantiles, plan)
    # From level to level, so that all forms round alike and no row depends on the others.
    parts = 0.5 * (quantiles[..., 1:] + quantiles[..., :-1]) * plan.widths
    inner = np.add.accumulate(parts, axis=-1)[..., -1]
    below = plan.low * (quantiles[..., 0] - low)
    above = plan.high * (quantiles[..., -1] + high)
    total: Floats = inner + below + above
    return total


def _slopes(quantiles: Floats, plan: QuantilePlan) -> tuple[Floats, Floats]:
    """Gives the slopes of both tails over the logarithms of levels."""
    low = (quantiles[..., 1] - quantiles[..., 0]) / plan.low_log
    high = (quantiles[..., -1] - quantiles[..., -2]) / plan.high_log
    return low, high


def _inner_levels(
    values: Floats,
    quantiles: Floats,
    levels: Floats,
    below: NDArray[np.int64],
    upto: NDArray[np.int64],
) -> Floats:
    """Gives levels [N] of values between the outermost quantiles; any number for other ones.

    Args:
      values: [N].
      quantiles: [N, Q].
      levels: [Q].
      below: [N], how many quantiles lie below the value.
      upto: [N], how many do not lie above it.
    """
    last = len(levels) - 1
    right = np.minimum(np.maximum(below, 1), last)
    rows = np.arange(len(values))
    lower, upper = quantiles[rows, right - 1], quantiles[rows, right]
    width = np.where(upper > lower, upper - lower, 1.0)
    share = (np.minimum(np.maximum(values, lower), upper) - lower) / width
    between = levels[right - 1] + share * (levels[right] - levels[right - 1])
    shared = 0.5 * (levels[np.minimum(below, last)] + levels[np.maximum(upto - 1, 0)])
    return np.where(upto > below, shared, between)


def _put_outer(
    level: Floats,
    tail: Floats,
    values: Floats,
    quantiles: Floats,
    levels: Floats,
    under: NDArray[np.bool_],
    over: NDArray[np.bool_],
) -> None:
    """Puts levels and logarithms of tails in where values lie beyond the outermost quantiles.

    Args:
      level: [N], changed in place.
      tail: likewise.
      values: [N].
      quantiles: [N, Q].
      levels: [Q].
      under: [N], below the lowest one.
      over: [N], above the highest one.
    """
    low, high = _slopes(quantiles, QuantilePlan.of(levels.tolist(), ()))
    finest = np.maximum(np.abs(quantiles).max(axis=1) * _FLOAT.eps, _FLOAT.tiny)
    for outside, edge, distance, slope in (
        (under, levels[0], quantiles[:, 0] - values, low),
        (over, 1.0 - levels[-1], values - quantiles[:, -1], high),
    ):
        fallen = _fallen(distance[outside], np.maximum(slope, finest)[outside])
        tail[outside] = np.log(edge) - fallen
    level[under] = np.exp(tail[under])
    level[over] = -np.expm1(tail[over])


def _fallen(distance: Floats, slope: Floats) -> Floats:
    """Gives by how much the logarithm of a tail falls over distances beyond its edge."""
    with np.errstate(over="ignore", divide="ignore"):
        depth = distance / slope
        deep = _DEEP * (1.0 + np.log(distance) - np.log(slope) - np.log(_DEEP))
    return np.where(depth <= _DEEP, depth, deep)
