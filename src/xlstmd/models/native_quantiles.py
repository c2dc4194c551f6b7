"""Scaled quantiles in the units of their series, natively; equal to `quantiles` to the last bit."""

import ctypes
from functools import lru_cache

import numpy as np

from xlstmd.models.quantile_plan import QuantilePlan, forecast_plan
from xlstmd.models.quantiles import Floats, InUnits
from xlstmd.ops import native_signatures
from xlstmd.ops.native_handle import address, check, native_library


class NativePlan:
    """A plan as the library takes it.

    Attributes:
      wanted: levels, the median among them.
      place: address of the library's structure.
    """

    def __init__(self, plan: QuantilePlan) -> None:
        """Keeps the plan, and with it what the addresses point to."""
        self._plan = plan
        self._spec = native_signatures.QuantilePlan(
            known=plan.known,
            widths=address(plan.widths),
            low=plan.low,
            high=plan.high,
            low_log=plan.low_log,
            high_log=plan.high_log,
            wanted=len(plan.places),
            places=address(plan.places),
            shares=address(plan.shares),
        )
        self.wanted = len(plan.places)
        self.place = ctypes.addressof(self._spec)


@lru_cache(maxsize=64)
def native_forecast_plan(known: tuple[float, ...], wanted: tuple[float, ...]) -> NativePlan:
    """Gives what is asked of a forecast; see `forecast_plan`."""
    return NativePlan(forecast_plan(known, wanted))


def empty_in_units(rows: int, points: int, wanted: int) -> InUnits:
    """Gives forecasts to be written."""
    return InUnits(
        np.empty((rows, points)),
        np.empty((rows, points)),
        np.empty((rows, points, wanted - 1)),
        np.empty(rows, dtype=np.bool_),
    )


def in_units(raw: Floats, means: Floats, deviations: Floats, plan: QuantilePlan) -> InUnits:
    """Brings quantiles into units; see `quantiles.in_units`."""
    rows, points, _ = raw.shape
    raw, means, deviations = (
        np.ascontiguousarray(each, dtype=np.float64) for each in (raw, means, deviations)
    )
    native, to = NativePlan(plan), empty_in_units(rows, points, len(plan.places))
    status = native_library().xlstmd_quantiles_in_units(
        native.place,
        rows,
        points,
        address(raw),
        means.shape[1],
        address(means),
        address(deviations),
        *map(address, to),
    )
    check(status)
    return to
