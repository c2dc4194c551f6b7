"""When the scale of a series is renewed: the definition, in NumPy.

`advance` moves a scale over points; `native_renewal` does the same in compiled code, to the last
bit, and the best one is chosen once. Sums run from point to point, never in blocks, so that both
round alike and feeding singly equals feeding at once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.ops.native import load_native

Floats = NDArray[np.float64]

DENSE: Final = 32
RENEW_SHARE: Final = 1.0 / 16.0
MEAN_DRIFT: Final = 0.05
DEVIATION_DRIFT: Final = 0.05
JUMP: Final = 100.0

# Below this share of its values' size a deviation is rounding, and the series constant.
_ROUNDING: Final = 8.0 * 2.0**-52

# Distances beyond this many deviations count as this many: their squares stay finite.
_FARTHEST: Final = 1e9


@dataclass(slots=True, kw_only=True)
class Scale:
    """Mean and deviation as they are frozen, and what decides when they are renewed.

    Attributes:
      mean: of the points up to the last renewal.
      deviation: likewise; 0 for a constant series.
      count: observed points since the start of the context.
      sum: of their distances from the mean, in deviations.
      squares: of those distances.
      anchor: points there were at the last renewal.
      jumps: renewals by a far point since the last regular one.
    """

    mean: float = 0.0
    deviation: float = 0.0
    count: float = 0.0
    sum: float = 0.0
    squares: float = 0.0
    anchor: int = 0
    jumps: int = 0


Advance = Callable[[Scale, Floats, int, int], tuple[int, bool]]


@cache
def best_advance() -> Advance:
    """Gives the native form of `advance` where the library is there, else the definition."""
    if load_native().library is None:
        return advance
    from xlstmd.models.native_renewal import advance as native_advance

    return native_advance


def advance(scale: Scale, points: Floats, seen: int, context_length: int) -> tuple[int, bool]:
    """Moves a scale over points.

    Args:
      scale: changed in place.
      points: since the start of the context, NaN = missing.
      seen: how many of them were taken in before.
      context_length: points that are kept at a renewal.

    Returns:
      How many of the first points are forgotten, and whether the scale was renewed.
    """
    start, renewed = 0, False
    while seen < len(points):
        moment = _next_renewal(scale, points, seen, context_length)
        if moment is None:
            break
        dropped = max(moment - context_length, 0)
        points, start = points[dropped:], start + dropped
        seen = min(moment, context_length)
        _renew(scale, points[:seen])
        renewed = True
    return start, renewed


def moments(known: Floats) -> tuple[float, float]:
    """Gives mean and deviation of one or more points, none missing; deviation 0 if all are equal.

    No digit is lost to a high level, and nothing overflows: it computes around the first value, in
    units of the largest distance from it.
    """
    around = float(known[0])
    away = known - around
    size = max(float(np.maximum.reduce(away)), -float(np.minimum.reduce(away)))
    if size <= _ROUNDING * abs(around):
        return around, 0.0
    away /= size
    middle = _sum(away) / len(known)
    away -= middle
    away *= away
    return around + size * middle, size * math.sqrt(_sum(away) / len(known))


def _sum(numbers: Floats) -> float:
    return float(np.add.accumulate(numbers)[-1])


def _renew(scale: Scale, points: Floats) -> None:
    known = points[~np.isnan(points)]
    count = len(known)
    scale.anchor = len(points)
    scale.count, scale.sum, scale.squares = float(count), 0.0, float(count)
    if not count:
        # Nothing but missing points for a whole context: the old scale is the best there is.
        return
    scale.mean, scale.deviation = moments(known)


def _next_renewal(scale: Scale, points: Floats, seen: int, context_length: int) -> int | None:
    """Gives how many points there are at the next renewal; None when it lies beyond them."""
    anchor = scale.anchor
    if anchor < DENSE:
        # Each of the first points renews; only the last of those renewals matters.
        return min(len(points), DENSE)
    forced = anchor + min(anchor, context_length // 2)
    until = min(forced, len(points))
    due = _drifted(scale, points[seen:until])
    due[: max(anchor + max(1, int(anchor * RENEW_SHARE)) - 1 - seen, 0)] = False
    jumped = _jumped(scale, points[seen:until]) & ~due
    due |= jumped
    moment = seen + 1 + int(due.argmax()) if due.any() else forced
    if moment > len(points):
        return None
    scale.jumps = 0 if moment == forced else scale.jumps + int(jumped[moment - seen - 1])
    return moment


def _jumped(scale: Scale, fresh: Floats) -> NDArray[np.bool_]:
    """Says which points the scale cannot hold: far away, or any move of a constant series."""
    farthest = max(JUMP * 10.0**scale.jumps * scale.deviation, _ROUNDING * abs(scale.mean))
    jumped: NDArray[np.bool_] = np.abs(fresh - scale.mean) > farthest
    return jumped


def _drifted(scale: Scale, fresh: Floats) -> NDArray[np.bool_]:
    """Says for each fresh point whether the scale has drifted by then; adds them to the sums."""
    if scale.deviation == 0.0:
        return np.zeros(len(fresh), dtype=np.bool_)
    known = ~np.isnan(fresh)
    with np.errstate(over="ignore"):
        away = (fresh - scale.mean) / scale.deviation
    away[~known] = 0.0
    np.minimum(np.maximum(away, -_FARTHEST, out=away), _FARTHEST, out=away)
    count = scale.count + np.add.accumulate(known, dtype=np.float64)
    squares = away * away
    away[0] += scale.sum
    squares[0] += scale.squares
    total = np.add.accumulate(away, out=away)
    np.add.accumulate(squares, out=squares)
    scale.count, scale.sum, scale.squares = count[-1], total[-1], squares[-1]
    np.maximum(count, 1.0, out=count)
    mean = total / count
    # Of the squared deviation, so that no root is drawn.
    spread = squares / count - mean * mean
    off: NDArray[np.bool_] = (
        (np.abs(mean) > MEAN_DRIFT)
        | (spread > (1.0 + DEVIATION_DRIFT) ** 2)
        | (spread < (1.0 - DEVIATION_DRIFT) ** 2)
    )
    return off
