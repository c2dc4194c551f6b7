"""Scores of points, as values: how unusual each one is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyScores:
    """Scores of N points; NaN and False for missing ones, and where no forecast stood.

    Attributes:
      quantile: [N], level at which the point lay, 0 to 1: uniform where the forecast is right.
      surprise: [N], -ln of the share that the forecast gave to points as far out on that side,
        -ln min(quantile, 1 - quantile): 0.69 at the median, 4.6 at the quantiles 0.01 and 0.99.
        Finite however far the point lies.
      flag: [N], the surprise is among the rarest of the stream; see `calibration`.
    """

    quantile: Floats
    surprise: Floats
    flag: NDArray[np.bool_]


def joined(parts: Sequence[AnomalyScores]) -> AnomalyScores:
    """Puts scores of points that follow each other together."""
    if len(parts) == 1:
        return parts[0]
    empty = AnomalyScores(
        quantile=np.empty(0), surprise=np.empty(0), flag=np.empty(0, dtype=np.bool_)
    )
    every = (empty, *parts)
    return AnomalyScores(
        quantile=np.concatenate([part.quantile for part in every]),
        surprise=np.concatenate([part.surprise for part in every]),
        flag=np.concatenate([part.flag for part in every]),
    )
