"""What is asked of quantile functions, worked out once for many of them. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantilePlan:
    """Levels that are wanted of functions of which some are known; see `quantiles`.

    Attributes:
      known: how many levels are, Q.
      widths: [Q - 1], from each of them to the next.
      low: the lowest one, a distance from 0.
      high: distance of the highest one from 1.
      low_log: logarithm of how much farther the second lowest one lies.
      high_log: likewise of the second highest one.
      places: [wanted]: -1 below the known ones, Q above them, else the first known one that is not
        lower.
      shares: [wanted]: beyond the known ones the logarithm of the distance from 0 or 1, in that of
        the outermost one; else the share of the way from the known one before to that of `places`.
    """

    known: int
    widths: Floats
    low: float
    high: float
    low_log: float
    high_log: float
    places: NDArray[np.int64]
    shares: Floats

    @classmethod
    def of(cls, known: Sequence[float], wanted: Sequence[float]) -> Self:
        """Makes one.

        Args:
          known: levels, rising.
          wanted: strictly between 0 and 1, in any order.
        """
        levels = np.asarray(known, dtype=np.float64)
        below, above = levels[:2], 1.0 - levels[-2:]
        places = np.empty(len(wanted), dtype=np.int64)
        shares = np.empty(len(wanted))
        for index, level in enumerate(wanted):
            places[index], shares[index] = _placed(float(level), levels)
        return cls(
            known=len(levels),
            widths=np.diff(levels),
            low=float(below[0]),
            high=float(above[1]),
            low_log=float(np.log(below[1] / below[0])),
            high_log=float(np.log(above[0] / above[1])),
            places=places,
            shares=shares,
        )


@lru_cache(maxsize=64)
def forecast_plan(known: tuple[float, ...], wanted: tuple[float, ...]) -> QuantilePlan:
    """Gives what is asked of a forecast: the wanted levels, then the median."""
    return QuantilePlan.of(known, (*wanted, 0.5))


def _placed(level: float, levels: Floats) -> tuple[int, float]:
    if level < levels[0]:
        return -1, float(np.log(level / levels[0]))
    if level > levels[-1]:
        return len(levels), float(np.log((1.0 - level) / (1.0 - levels[-1])))
    right = int(np.searchsorted(levels, level))
    if levels[right] == level:
        return right, 1.0
    return right, float((level - levels[right - 1]) / (levels[right] - levels[right - 1]))
