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
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ModelFailed
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.calibration import REMEMBERED, Calibration
from xlstmd.models.quantiles import levels_of

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

# Differences of two quantiles that are cut off here stay within float64.
_LARGEST: Final = 8e307


class AnomalyScorer:
    """The forecast that stands in one stream, and its past surprises.

    Whoever feeds the stream asks `wants_forecast` before its next points, hands one over to `stand`
    where it does, and then gives at most `room` points to `score`.

    Once it has begun, every point of the stream goes through `score`.
    """

    def __init__(
        self,
        quantile_levels: Sequence[float],
        patch_length: int,
        arrays: Arrays | None = None,
    ) -> None:
        """Starts before the first point, or goes on with what is in arrays.

        Args:
          quantile_levels: of the forecasts, Q rising ones.
          patch_length: points that a forecast stands for, P.
          arrays: the whole state, of the names, shapes and types that `fresh_arrays` gives; changed
            in place. None makes them.
        """
        self._levels = tuple(quantile_levels)
        self._patch = patch_length
        state = fresh_arrays(quantile_levels, patch_length) if arrays is None else arrays
        self._begun, self._made_at = state["begun"], state["made_at"]
        self._quantiles = state["quantiles"]
        self._calibration = Calibration(state["surprises"])

    @property
    def begun(self) -> bool:
        """Whether scores have been asked for."""
        return bool(self._begun[0])

    def begin(self) -> None:
        """Notes that scores are asked for."""
        self._begun[0] = True

    def room(self, observed: int) -> int:
        """Gives how many points there are up to the next boundary, 1 to P.

        Args:
          observed: points taken in since the first observed one.
        """
        return room(self._patch, observed)

    def wants_forecast(self, observed: int) -> bool:
        """Says whether a new forecast has to stand before the next point is scored."""
        return wants_forecast(self._patch, observed, int(self._made_at[0]))

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
        np.clip(quantiles, -_LARGEST, _LARGEST, out=self._quantiles)
        self._made_at[0] = observed

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
            first = observed - int(self._made_at[0])
            standing = self._quantiles[first : first + len(points)]
            quantile, log_tail = levels_of(points, standing, self._levels)
            surprise = -log_tail
        flag = self._calibration.flags(surprise, rate)
        return AnomalyScores(quantile=quantile, surprise=surprise, flag=flag)


def room(patch_length: int, observed: int) -> int:
    """Gives how many points there are up to the next boundary; see `AnomalyScorer.room`."""
    return patch_length - observed % patch_length


def wants_forecast(patch_length: int, observed: int, made_at: int) -> bool:
    """Says whether a forecast made at some point stands no more; see `AnomalyScorer`."""
    boundary = observed - observed % patch_length
    return boundary > 0 and not boundary <= made_at <= observed


def fresh_arrays(quantile_levels: Sequence[float], patch_length: int) -> dict[str, NDArray[Any]]:
    """Gives the state of a scorer before the first point; shapes and types never change."""
    return {
        "begun": np.zeros(1, dtype=np.bool_),
        # Points there were when the forecast was made; none is made before the first boundary.
        "made_at": np.zeros(1, dtype=np.int64),
        "quantiles": np.zeros((patch_length, len(quantile_levels))),
        "surprises": np.full(REMEMBERED, -np.inf, dtype=np.float32),
    }
