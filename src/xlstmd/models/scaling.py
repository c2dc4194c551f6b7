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

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.renewal import Scale, best_advance

Floats = NDArray[np.float64]


class ScaledContext:
    """The points since the start of the present context, with the scale that is frozen for them.

    Attributes:
      points: since the start; the first one is observed. NaN = missing.
      observed: points since the first observed one ever.
    """

    def __init__(self, context_length: int) -> None:
        """Starts without a point.

        Args:
          context_length: points that are kept at a renewal.
        """
        self.context_length = context_length
        self.points: Floats = np.empty(0)
        self.observed = 0
        self._scale = Scale()
        self._advance = best_advance()

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
        start, renewed = self._advance(self._scale, points, seen, self.context_length)
        self.observed += len(values)
        self.points = points[start:].copy() if start else points
        return renewed

    @property
    def mean(self) -> float:
        """Of the points up to the last renewal."""
        return self._scale.mean

    @property
    def deviation(self) -> float:
        """Of the points up to the last renewal; 0 for a constant series."""
        return self._scale.deviation

    @property
    def renewed_at(self) -> int:
        """How many of the points there were at the last renewal."""
        return self._scale.anchor

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
