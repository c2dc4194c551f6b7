"""How unusual points are under the forecast that was made before they were seen. NumPy only.

A forecast of one patch is made at each patch boundary: when the number of points since the first
observed one is a multiple of the patch length. It stands for the points of that patch. So it
depends on the history alone, and appending in other portions changes no score. No forecast stands
within the first patch: its points are not scored.

Scoring costs a forecast a patch, so it begins when it is first asked for. That moment counts as a
boundary: a forecast made there, possibly in the middle of a patch, stands until the next one. From
then on every point is scored and remembered, asked for or not, so that the state is a function of
the history and of that moment.

Scores are taken in the units of the series, so that they do not care when its scale is renewed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ModelFailed
from xlstmd.models.calibration import Calibration, stored
from xlstmd.models.quantiles import levels_of

Floats = NDArray[np.float64]

# Differences of two quantiles that are cut off here stay within float64.
_LARGEST: Final = 8e307


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


class AnomalyScorer:
    """The forecast that stands in one stream, and its past surprises.

    Whoever feeds the stream asks `wants_forecast` before its next points, hands one over to `stand`
    where it does, and then gives at most `room` points to `score`.

    Attributes:
      begun: scores have been asked for; from then on every point goes through `score`.
    """

    def __init__(self, quantile_levels: Sequence[float], patch_length: int) -> None:
        """Starts before the first point.

        Args:
          quantile_levels: of the forecasts, Q rising ones.
          patch_length: points that a forecast stands for, P.
        """
        self.begun = False
        self._levels = tuple(quantile_levels)
        self._patch = patch_length
        self._quantiles = np.zeros((patch_length, len(self._levels)))
        # Points there were when that forecast was made; none is made before the first boundary.
        self._made_at = 0
        self._calibration = Calibration()

    def room(self, observed: int) -> int:
        """Gives how many points there are up to the next boundary, 1 to P.

        Args:
          observed: points taken in since the first observed one.
        """
        return self._patch - observed % self._patch

    def wants_forecast(self, observed: int) -> bool:
        """Says whether a new forecast has to stand before the next point is scored."""
        boundary = observed - observed % self._patch
        return boundary > 0 and not boundary <= self._made_at <= observed

    def stand(
        self, scaled: NDArray[np.float32], mean: float, deviation: float, observed: int
    ) -> None:
        """Lets a forecast stand for the next points.

        Args:
          scaled: [P, Q], quantiles in units of the scale, in any order along the last axis.
          mean: of the scale.
          deviation: likewise.
          observed: points taken in since the first observed one.

        Raises:
          ModelFailed: the quantiles are not finite.
        """
        if not np.isfinite(scaled).all():
            expected = "a finite forecast to score them by"
            raise ModelFailed("values", expected, "NaN or infinity")
        with np.errstate(over="ignore"):
            quantiles = np.sort(scaled.astype(np.float64), axis=-1) * deviation + mean
        self._quantiles = np.clip(quantiles, -_LARGEST, _LARGEST)
        self._made_at = observed

    def score(self, points: Floats, observed: int, rate: float) -> AnomalyScores:
        """Scores the next points and remembers their surprises.

        Args:
          points: [N], at most `room`, NaN = missing.
          observed: points taken in before them, since the first observed one.
          rate: of flags, strictly between 0 and 1.
        """
        quantile = np.full(len(points), np.nan)
        surprise = quantile.copy()
        if observed >= self._patch:
            first = observed - self._made_at
            standing = self._quantiles[first : first + len(points)]
            quantile, log_tail = levels_of(points, standing, self._levels)
            surprise = -log_tail
        flag = self._calibration.flags(surprise, rate)
        return AnomalyScores(quantile=quantile, surprise=surprise, flag=flag)

    @property
    def nbytes(self) -> int:
        """Bytes of what `to_arrays` gives, always the same."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Gives the state as arrays whose names, shapes and types never change."""
        return {
            "begun": np.array([self.begun]),
            "made_at": np.array([self._made_at], dtype=np.int64),
            "quantiles": self._quantiles.copy(),
            **self._calibration.to_arrays(),
        }

    @classmethod
    def from_arrays(
        cls,
        quantile_levels: Sequence[float],
        patch_length: int,
        arrays: Mapping[str, NDArray[Any]],
    ) -> Self:
        """Goes on from what `to_arrays` gave.

        Args:
          quantile_levels: as at the start.
          patch_length: likewise.
          arrays: by name.

        Raises:
          SnapshotDamaged: an array is missing, or has another shape or type.
        """
        made = cls(quantile_levels, patch_length)
        state = {name: stored(arrays, name, like) for name, like in made.to_arrays().items()}
        made.begun, made._made_at = bool(state["begun"][0]), int(state["made_at"][0])
        made._quantiles = state["quantiles"]
        made._calibration = Calibration.from_arrays(state)
        return made


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
