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

    def extend(self, values: Floats) -> bool:
        """Takes in points; says whether the scale was renewed.

        Args:
          values: in time order, NaN = missing. Missing points before the first observed one do
            not count.
        """
        self.points, taken, renewed = extended(
            self._scale, self.points, values, self.context_length
        )
        self.observed += taken
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
        return scaled(self.points, self.mean, self.deviation)


def extended(
    scale: Scale, points: Floats, values: Floats, context_length: int
) -> tuple[Floats, int, bool]:
    """Takes in points.

    Args:
      scale: of the context; changed in place.
      points: since its start.
      values: in time order, NaN = missing. Missing ones before the first observed one of the stream
        do not count.
      context_length: points that are kept at a renewal.

    Returns:
      The points since the start of the context there is then, at most `most_points`; how many were
      taken in; whether the scale was renewed.
    """
    if not len(points):
        known = np.flatnonzero(~np.isnan(values))
        values = values[known[0] :] if len(known) else values[:0]
    joined = np.concatenate([points, values])
    start, renewed = best_advance()(scale, joined, len(points), context_length)
    return (joined[start:].copy() if start else joined), len(values), renewed


def scaled(points: Floats, mean: Floats | float, deviation: Floats | float) -> Floats:
    """Gives points in units of a scale, NaN = missing; a deviation of 0 is that of a constant."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        away = np.clip((points - mean) / deviation, -1e4, 1e4)
    return np.where(np.equal(deviation, 0.0) & ~np.isnan(points), 0.0, away)


def most_points(context_length: int) -> int:
    """Gives how many points a context holds at most."""
    return context_length + context_length // 2
