"""Which observations are like those that a policy was trained on. No torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.observation_statistics import ObservationDistances, ObservationStatistics
from xlstmd.models.policy_contract import PolicyContract

Numbers = NDArray[np.float64]

# Of the range that training saw, on either side of it.
_MARGIN: Final = 0.25

# A bound of the contract may have been rounded to float32 on its way here.
_ROUNDING: Final = 1e-6

# Distances are about 1; nothing nearer than this is unusual, and nothing within so many times what
# training saw last.
_LEAST_DISTANCE: Final = 3.0
_DISTANCES: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UsualObservations:
    """Bounds of each number, and of the distance of all of them together.

    Args:
      low: least usual value of each number; may be -inf.
      high: largest usual value of each number; may be inf.
      mean: of each number.
      scale: [F, F], takes what differs from the mean to a vector as long as the distance.
      farthest: largest usual distance; inf for any.
    """

    low: Numbers
    high: Numbers
    mean: Numbers
    scale: Numbers
    farthest: float

    @classmethod
    def of(cls, contract: PolicyContract, statistics: ObservationStatistics) -> Self:
        """Draws the bounds around what training saw, within those of the contract."""
        fields = contract.observations
        low = np.array([-np.inf if entry.low is None else entry.low for entry in fields])
        high = np.array([np.inf if entry.high is None else entry.high for entry in fields])
        low, high = low - _ROUNDING * np.abs(low), high + _ROUNDING * np.abs(high)
        farthest = np.inf
        if statistics.count:
            is_quantity = np.array([not entry.choices for entry in fields])
            margin = _MARGIN * (statistics.highest - statistics.lowest)
            low = np.where(is_quantity, np.maximum(low, statistics.lowest - margin), low)
            high = np.where(is_quantity, np.minimum(high, statistics.highest + margin), high)
            farthest = max(_LEAST_DISTANCE, _DISTANCES * statistics.farthest)
        distances = ObservationDistances(statistics)
        mean = np.asarray(statistics.mean, dtype=np.float64)
        scale = distances.scale
        return cls(low=low, high=high, mean=mean, scale=scale, farthest=float(farthest))

    def __call__(self, observations: Numbers) -> NDArray[np.bool_]:
        """Says which of finite observations [N, F] are usual."""
        is_inside = (observations >= self.low) & (observations <= self.high)
        inside: NDArray[np.bool_] = np.asarray(is_inside.all(axis=1))
        if not np.isfinite(self.farthest):
            return inside
        # What is outside may be as large as numbers get.
        near = np.where(inside[:, None], observations, self.mean) - self.mean
        is_near: NDArray[np.bool_] = np.linalg.norm(near @ self.scale, axis=1) <= self.farthest
        return inside & is_near

    def to_dict(self) -> dict[str, Any]:
        """Gives the bounds as plain values; `from_dict` reads them."""
        names = ("low", "high", "mean", "scale")
        return {name: getattr(self, name).tolist() for name in names} | {"farthest": self.farthest}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads bounds."""
        names = ("low", "high", "mean", "scale")
        arrays = {name: np.asarray(values[name], dtype=np.float64) for name in names}
        return cls(**arrays, farthest=float(values["farthest"]))
