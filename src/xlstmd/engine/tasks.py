"""What can be asked of the engine, and what it answers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ShapeError
from xlstmd.models.points import check_points
from xlstmd.models.quantile_forecast import QuantileForecast

FloatArray = NDArray[np.float64]

DEFAULT_QUANTILE_LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BYTES_PER_NUMBER: Final = 8


class Model(Protocol):
    """What the engine needs of any model."""

    @property
    def name(self) -> str:
        """Name without version, for example `small`."""

    @property
    def version(self) -> str:
        """Version, for example `1`."""

    @property
    def identity(self) -> str:
        """Name and version, for example `small@1`."""

    def describe(self) -> Mapping[str, Any]:
        """Facts about the model that can be written as JSON."""


class ForecastModel(Model, Protocol):
    """What the engine needs of a forecaster."""

    def forecast(
        self, histories: Sequence[FloatArray], horizon: int, quantile_levels: Sequence[float]
    ) -> QuantileForecast:
        """Forecasts every history; no row may depend on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastTask:
    """Series to forecast in one go. Checked when made, so that every caller meets the same rules.

    Args:
      histories: one array for each series, oldest point first; NaN is a missing value.
      horizon: points to forecast, 1 or more.
      quantile_levels: strictly between 0 and 1, each once; the answer keeps their order.
      model: name or identity of a loaded model; `None` is the default model.
      deadline_s: how long the answer may take from now on; `None` is without end.

    Raises:
      InputError: a series without any observed value, an infinite value, a bad horizon or level.
    """

    histories: tuple[FloatArray, ...]
    horizon: int
    quantile_levels: tuple[float, ...] = DEFAULT_QUANTILE_LEVELS
    model: str | None = None
    deadline_s: float | None = None

    def __post_init__(self) -> None:
        """Checks what types cannot say."""
        if not self.histories:
            raise InputError("series", "at least one series", "none", code="empty")
        if self.horizon < 1:
            raise InputError("horizon", "1 or more", str(self.horizon))
        check_levels(self.quantile_levels)
        for index, history in enumerate(self.histories):
            _check_history(history, f"series[{index}].values")

    @property
    def rows(self) -> int:
        """How many series are asked for."""
        return len(self.histories)

    @property
    def points(self) -> int:
        """Observed and forecast points together: what the work is measured in."""
        return sum(len(history) for history in self.histories) + self.rows * self.horizon

    @property
    def nbytes(self) -> int:
        """Bytes held until the answer is given: the histories and the numbers of the answer."""
        numbers = self.rows * self.horizon * (len(self.quantile_levels) + 2)
        return sum(history.nbytes for history in self.histories) + BYTES_PER_NUMBER * numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastResult:
    """The answer to a task.

    Args:
      forecast: rows in the order of the task's histories.
      model: identity of the model that answered.
      queue_ms: from admission to the first computation.
      compute_ms: time of the model calls that had rows of this task.
    """

    forecast: QuantileForecast
    model: str
    queue_ms: float
    compute_ms: float


def _check_history(history: FloatArray, field: str) -> None:
    if history.ndim != 1:
        raise ShapeError(field, "a list of numbers", f"an array with shape {list(history.shape)}")
    check_points(history, field)
    if np.isnan(history).all():
        got = f"{len(history)} missing values" if len(history) else "no points"
        raise InputError(field, "at least one observed value", got, code="empty")


def check_levels(levels: Sequence[float]) -> None:
    """Checks the levels of a forecast.

    Raises:
      InputError: there is none, one is not strictly between 0 and 1, or comes twice.
    """
    if not levels:
        raise InputError("quantile_levels", "at least one level", "none", code="empty")
    for index, level in enumerate(levels):
        if math.isnan(level) or not 0.0 < level < 1.0:
            code = "out_of_range" if math.isfinite(level) else "non_finite"
            expected = "a number strictly between 0 and 1"
            raise InputError(f"quantile_levels[{index}]", expected, str(level), code=code)
        if level in levels[:index]:
            raise InputError(f"quantile_levels[{index}]", "each level once", f"{level} again")
