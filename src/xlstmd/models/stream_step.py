"""What a stream is asked for in one step, and what comes of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ModelFailed
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.quantile_forecast import QuantileForecast

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStep:
    """What one stream is asked for: points in, then a forecast.

    Args:
      slot: of the stream; changed in place.
      values: points to take in, NaN = missing, none infinite; may be none.
      horizon: points to forecast after them; 0 for no forecast.
      quantile_levels: of the forecast.
      anomaly_rate: of flags, strictly between 0 and 1; None for no scores.
    """

    slot: int
    values: Floats
    horizon: int = 0
    quantile_levels: tuple[float, ...] = ()
    anomaly_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAnswer:
    """What became of a step.

    Args:
      observed: points since the first observed one.
      forecast: one row; None where none was asked for.
      scores: of the step's points; None where none were asked for.
      error: why the step failed; the slot holds nothing of use then.
    """

    observed: int
    forecast: QuantileForecast | None
    scores: AnomalyScores | None
    error: InputError | ModelFailed | None
