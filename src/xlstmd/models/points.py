"""Observed points as callers hand them over: any kind of numbers in, float64 out, or a clear no."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ShapeError

FloatArray = NDArray[np.float64]

# Beyond it, differences of two points leave float64.
LARGEST: Final = 1e300

# So few points are looked at one by one: NumPy takes longer to begin.
_FEW: Final = 16

# Booleans, whole numbers, floats, and Python objects such as None.
_KINDS: Final = "biufO"


def as_points(values: Any, field: str) -> FloatArray:
    """Gives one series as an array of its own.

    Args:
      values: numbers in time order; NaN, None and masked ones are missing.
      field: name of the series, for errors.

    Raises:
      InputError: no numbers, infinite ones, or ones beyond 1e300.
      ShapeError: not one line of numbers.
    """
    points = as_floats(values, field)
    if points.ndim != 1:
        raise ShapeError(field, "a list of numbers", f"shape {list(points.shape)}")
    check_points(points, field)
    return points


def as_floats(values: Any, field: str) -> FloatArray:
    """Gives numbers of any shape as float64, in an array of their own.

    Raises:
      InputError: no numbers, or ones that float64 does not hold.
    """
    if isinstance(values, np.ma.MaskedArray):
        values = np.where(np.ma.getmaskarray(values), np.nan, values.data)
    try:
        array = np.asarray(values)
        if values is None or array.dtype.kind not in _KINDS:
            raise InputError(field, "numbers", _shown(values), code="bad_type")
        if isinstance(values, list | tuple) and array.dtype == np.float64:
            # Nobody else has it.
            return array
        return np.array(array, dtype=np.float64)
    except OverflowError:
        raise InputError(field, "numbers up to 1e300 in size", "a larger one") from None
    except (TypeError, ValueError):
        raise InputError(field, "numbers", _shown(values), code="bad_type") from None


def check_points(points: FloatArray, field: str) -> None:
    """Refuses points that cannot be computed with.

    Raises:
      InputError: with the first one's place.
    """
    # Most series have nothing to refuse: one pass over them, NaN passes.
    if len(points) <= _FEW:
        if not any(abs(point) > LARGEST for point in points.tolist()):
            return
    elif not (np.abs(points) > LARGEST).any():
        return
    infinite = np.isinf(points)
    if infinite.any():
        place = int(infinite.argmax())
        got = f"{points[place]} at position {place}"
        raise InputError(field, "finite numbers or missing values", got, code="non_finite")
    place = int(np.nanargmax(np.abs(points)))
    got = f"{points[place]} at position {place}"
    raise InputError(field, "numbers up to 1e300 in size", got)


def _shown(values: Any) -> str:
    return f"{type(values).__name__} {str(values)[:40]}"
