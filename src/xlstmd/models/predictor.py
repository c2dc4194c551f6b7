"""What every forecaster is to its callers, and what all of them do alike. No torch in here."""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from xlstmd.errors import InputError, ModelFailed, ShapeError
from xlstmd.models.points import as_floats
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast
from xlstmd.models.quantile_plan import forecast_plan
from xlstmd.models.quantiles import MEAN_METHOD, best_in_units

if TYPE_CHECKING:
    from xlstmd.models.forecaster import ForecastStream

DEFAULT_LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Predictor(ABC):
    """A loaded forecaster of any kind; calls keep nothing of the series.

    Attributes:
      name: without version.
      version: another one means other weights.
    """

    name: str
    version: str

    @property
    def identity(self) -> str:
        """Name and version."""
        return f"{self.name}@{self.version}"

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Gives facts that can be written as JSON."""

    @abstractmethod
    def forecast(
        self, histories: Sequence[FloatArray], horizon: int, quantile_levels: Sequence[float]
    ) -> QuantileForecast:
        """Forecasts every history by itself; no row depends on the others.

        Args:
          histories: [length] each, oldest point first, NaN = missing, at least one point observed.
          horizon: points to forecast, Z.
          quantile_levels: strictly between 0 and 1.

        Raises:
          InputError: a history without an observed point or with an infinite one, a bad horizon or
            level.
          ModelFailed: a forecast cannot be written in float64.
        """

    @abstractmethod
    def stream(self) -> "ForecastStream":
        """Starts a series that is fed point by point.

        Raises:
          ConfigError: this kind of model cannot be fed so.
        """

    def predict(
        self,
        series: Any,
        horizon: int,
        quantile_levels: Sequence[float] = DEFAULT_LEVELS,
        *,
        freq: str | None = None,
    ) -> Any:
        """Forecasts arrays or a long frame.

        Args:
          series: one array, a list of arrays, an array [S, T], or a pandas, polars or pyarrow
            frame with the columns `unique_id`, `ds`, `y`; NaN or null is missing.
          horizon: points to forecast.
          quantile_levels: strictly between 0 and 1.
          freq: of a frame whose times do not show it, for example `h`.

        Returns:
          For arrays a `QuantileForecast` (one series is a row of its own); for a frame one of the
          same kind with `unique_id`, `ds`, `mean` and a column for each level, `q0.1` and so on.

        Raises:
          InputError: see `forecast`; or columns are missing or of the wrong type.
        """
        if hasattr(series, "columns") or hasattr(series, "column_names"):
            from xlstmd.models.frames import from_frame, to_frame

            frame = from_frame(series, freq=freq)
            return to_frame(frame, self.forecast(frame.histories, horizon, quantile_levels))
        return self.forecast(_histories(series), horizon, quantile_levels)


def finished(
    raw: FloatArray,
    means: FloatArray,
    deviations: FloatArray,
    known: Sequence[float],
    levels: tuple[float, ...],
) -> QuantileForecast:
    """Turns scaled quantiles into a forecast.

    Args:
      raw: [S, Z, known levels], in any order along the last axis.
      means: of the scale, [S, Z], or [S, 1] where a series has one.
      deviations: likewise.
      known: levels of `raw`, rising.
      levels: wanted ones.
    """
    plan = forecast_plan(tuple(known), levels)
    mean, median, quantiles, finite = best_in_units()(raw, means, deviations, plan)
    if not finite.all():
        row = int(finite.argmin())
        raise ModelFailed(f"series[{row}].values", "a finite forecast", "numbers beyond float64")
    return QuantileForecast(
        mean=mean,
        median=median,
        quantiles=quantiles,
        quantile_levels=levels,
        mean_method=MEAN_METHOD,
    )


def check_request(horizon: int, quantile_levels: Sequence[float]) -> tuple[float, ...]:
    """Checks what is asked of a forecast, and gives the levels.

    Raises:
      InputError: a horizon that is no whole number or below 1, no level, one that is not strictly
        between 0 and 1, or one twice.
    """
    try:
        if isinstance(horizon, bool):
            raise TypeError
        steps = operator.index(horizon)
    except TypeError:
        raise InputError("horizon", "a whole number", repr(horizon)[:40], code="bad_type") from None
    if steps < 1:
        raise InputError("horizon", "1 or more", str(horizon))
    try:
        levels = tuple(float(level) for level in quantile_levels)
    except (TypeError, ValueError):
        got = repr(quantile_levels)[:40]
        raise InputError("quantile_levels", "a list of numbers", got, code="bad_type") from None
    if not levels:
        raise InputError("quantile_levels", "at least one level", "none", code="empty")
    for index, level in enumerate(levels):
        if not 0.0 < level < 1.0:
            code = "out_of_range" if math.isfinite(level) else "non_finite"
            expected = "a number strictly between 0 and 1"
            raise InputError(f"quantile_levels[{index}]", expected, str(level), code=code)
        if level in levels[:index]:
            raise InputError(f"quantile_levels[{index}]", "each level once", f"{level} again")
    return levels


def _histories(series: Any) -> list[FloatArray]:
    if isinstance(series, np.ndarray) and series.dtype != object:
        rows = np.atleast_2d(as_floats(series, "series"))
        if rows.ndim != 2:
            raise ShapeError("series", "an array [T] or [S, T]", f"shape {list(rows.shape)}")
        return list(rows)
    try:
        items = list(series)
    except TypeError:
        got = type(series).__name__
        raise InputError("series", "series of numbers", got, code="bad_type") from None
    if not items:
        raise InputError("series", "at least one series", "none", code="empty")
    if all(np.ndim(item) == 0 for item in items):
        return [as_floats(items, "series")]
    return [as_floats(item, f"series[{index}]") for index, item in enumerate(items)]
