"""The result of a forecast."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantileForecast:
    """Forecasts of S series over Z points at Q levels, in the units of the series.

    Attributes:
      mean: [S, Z].
      median: [S, Z].
      quantiles: [S, Z, Q]; a higher level never has a lower value.
      quantile_levels: Q levels, in the order that was asked for.
      mean_method: how `mean` was made, for example `quantile_integral`.
    """

    mean: FloatArray
    median: FloatArray
    quantiles: FloatArray
    quantile_levels: tuple[float, ...]
    mean_method: str


def rows_of(forecast: QuantileForecast) -> list[QuantileForecast]:
    """Gives each series' forecast by itself; they share the numbers of the whole."""
    return [
        QuantileForecast(
            mean=forecast.mean[row : row + 1],
            median=forecast.median[row : row + 1],
            quantiles=forecast.quantiles[row : row + 1],
            quantile_levels=forecast.quantile_levels,
            mean_method=forecast.mean_method,
        )
        for row in range(len(forecast.mean))
    ]
