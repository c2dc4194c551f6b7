"""The scale of a series, frozen at moments that depend on its history alone. NumPy only.

A forecast of a series must not depend on whether it was fed whole or point by point, and encoding
everything again at every point would cost too much. So mean and deviation are frozen and renewed
only (docs/decisions/0001)

- with each point up to 32, later when the points since the last renewal have doubled the series,
  and at the latest after half a context;
- before that, when 1/16 has been added and the running mean or deviation has drifted;
- at once, when a point lies farther than 100 deviations away, as after a change of level; ten times
  farther for each further one before the next renewal of the first kind, so that no series can ask
  for a renewal at every point.

At a renewal everything before the last `context_length` points is forgotten; the points from there
on are encoded again with the new scale. The cost per point is bounded on average, the bytes are
bounded, and the result is a function of the history alone.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

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
    middle = float(np.add.reduce(away)) / len(known)
    away -= middle
    away *= away
    return around + size * middle, size * math.sqrt(float(np.add.reduce(away)) / len(known))


class ScaledContext:
    """The points since the start of the present context, with the scale that is frozen for them.

    Attributes:
      points: since the start; the first one is observed. NaN = missing.
      mean: of the points up to the last renewal.
      deviation: likewise; 0 for a constant series.
      observed: points since the first observed one ever.
    """

    def __init__(self, context_length: int) -> None:
        """Starts without a point.

        Args:
          context_length: points that are kept at a renewal.
        """
        self.context_length = context_length
        self.points: Floats = np.empty(0)
        self.mean = 0.0
        self.deviation = 0.0
        self.observed = 0
        self._anchor = 0
        self._jumps = 0
        self._count = 0.0
        self._sum = 0.0
        self._squares = 0.0

    def extend(self, values: Floats) -> bool:
        """Takes in points; says whether the scale was renewed.

        Args:
          values: in time order, NaN = missing. Missing points before the first observed one do
            not count.
        """
        if not len(self.points):
            known = np.flatnonzero(~np.isnan(values))
            if not len(known):
                return False
            values = values[known[0] :]
        seen = len(self.points)
        points = np.concatenate([self.points, values])
        self.observed += len(values)
        renewed = False
        while seen < len(points):
            moment = self._next_renewal(points, seen)
            if moment is None:
                break
            points = points[max(moment - self.context_length, 0) :]
            seen = min(moment, self.context_length)
            self._renew(points[:seen])
            renewed = True
        self.points = points if points.base is None else points.copy()
        return renewed

    def scaled(self) -> Floats:
        """Gives the points in units of the scale, NaN = missing."""
        if self.deviation == 0.0:
            return np.where(np.isnan(self.points), np.nan, 0.0)
        with np.errstate(over="ignore"):
            return np.clip((self.points - self.mean) / self.deviation, -1e4, 1e4)

    @property
    def nbytes(self) -> int:
        """Bytes kept at most."""
        longest = self.context_length + self.context_length // 2
        return longest * self.points.itemsize + 7 * 8

    def _renew(self, points: Floats) -> None:
        known = points[~np.isnan(points)]
        count = len(known)
        self._anchor = len(points)
        self._count, self._sum, self._squares = float(count), 0.0, float(count)
        if not count:
            # Nothing but missing points for a whole context: the old scale is the best there is.
            return
        self.mean, self.deviation = moments(known)

    def _next_renewal(self, points: Floats, seen: int) -> int | None:
        """Gives how many points there are at the next renewal; None when it lies beyond them."""
        anchor = self._anchor
        if anchor < DENSE:
            # Each of the first points renews; only the last of those renewals matters.
            return min(len(points), DENSE)
        forced = anchor + min(anchor, self.context_length // 2)
        until = min(forced, len(points))
        due = self._drifted(points[seen:until])
        due[: max(anchor + max(1, int(anchor * RENEW_SHARE)) - 1 - seen, 0)] = False
        jumped = self._jumped(points[seen:until]) & ~due
        due |= jumped
        moment = seen + 1 + int(due.argmax()) if due.any() else forced
        if moment > len(points):
            return None
        self._jumps = 0 if moment == forced else self._jumps + int(jumped[moment - seen - 1])
        return moment

    def _jumped(self, fresh: Floats) -> NDArray[np.bool_]:
        """Says which points the scale cannot hold: far away, or any move of a constant series."""
        farthest = max(JUMP * 10.0**self._jumps * self.deviation, _ROUNDING * abs(self.mean))
        jumped: NDArray[np.bool_] = np.abs(fresh - self.mean) > farthest
        return jumped

    def _drifted(self, fresh: Floats) -> NDArray[np.bool_]:
        """Says for each fresh point whether the scale has drifted by then; adds them to the sums.

        Sums run from point to point, so that feeding singly rounds like feeding at once.
        """
        if self.deviation == 0.0:
            return np.zeros(len(fresh), dtype=np.bool_)
        known = ~np.isnan(fresh)
        with np.errstate(over="ignore"):
            away = (fresh - self.mean) / self.deviation
        away[~known] = 0.0
        np.minimum(np.maximum(away, -_FARTHEST, out=away), _FARTHEST, out=away)
        count = self._count + np.add.accumulate(known, dtype=np.float64)
        squares = away * away
        away[0] += self._sum
        squares[0] += self._squares
        total = np.add.accumulate(away, out=away)
        np.add.accumulate(squares, out=squares)
        self._count, self._sum, self._squares = count[-1], total[-1], squares[-1]
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
