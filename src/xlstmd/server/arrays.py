"""Numbers of a request as arrays: lists with nulls, and the binary form of MessagePack."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ShapeError
from xlstmd.server.wire import BinaryArray, Number

DTYPES: Final = ("<f4", "<f2", "<i4", "<u1")
SERIES_NUMBERS: Final = "finite numbers or null"

FloatArray = NDArray[np.float64]


def series_values(values: list[Number] | BinaryArray, *, field: str) -> FloatArray:
    """Gives the values of a series; NaN is a missing one.

    Args:
      values: null is a missing value in a list, NaN in a binary array.
      field: where they stand, for the error.

    Raises:
      InputError: 422 `non_finite`, `bad_type` or `bad_shape`.
    """
    if isinstance(values, BinaryArray):
        array = read_binary(values, rank=1, field=field)
    else:
        array = np.array(values, dtype=np.float64)
        nans = np.isnan(array)
        if nans.any() and int(np.count_nonzero(nans)) != values.count(None):
            index = next(i for i, value in enumerate(values) if _is_nan(value))
            raise _non_finite(field, f"nan at position {index}")
    refuse_infinite(array, field=field)
    return array


def read_binary(array: BinaryArray, *, rank: int, field: str) -> FloatArray:
    """Reads a binary array.

    Args:
      array: of one of the allowed types.
      rank: number of dimensions that it must have.
      field: where it stands, for the error.

    Raises:
      InputError: 422 `bad_type` for another dtype, `bad_shape` where shape and bytes disagree.
    """
    if array.dtype not in DTYPES:
        expected = f"one of {', '.join(DTYPES)}"
        raise InputError(f"{field}.dtype", expected, repr(array.dtype[:20]), code="bad_type")
    if len(array.shape) != rank or min(array.shape, default=0) < 0:
        expected = f"{rank} whole numbers of 0 or more"
        raise ShapeError(f"{field}.shape", expected, str(array.shape[:4]))
    dtype = np.dtype(array.dtype)
    # Python's integers do not overflow, so a huge shape cannot pass for a small one.
    nbytes = math.prod(array.shape) * dtype.itemsize
    if nbytes != len(array.data):
        expected = f"{nbytes} bytes for shape {array.shape} of {array.dtype}"
        raise ShapeError(f"{field}.data", expected, str(len(array.data)))
    return np.frombuffer(array.data, dtype=dtype).astype(np.float64).reshape(array.shape)


def refuse_infinite(array: FloatArray, *, field: str) -> None:
    """Refuses infinite values.

    Raises:
      InputError: 422 `non_finite`.
    """
    infinite = np.isinf(array)
    if infinite.any():
        index = int(infinite.argmax())
        raise _non_finite(field, f"{array.flat[index]} at position {index}")


def _is_nan(value: Number) -> bool:
    return value is not None and math.isnan(value)


def _non_finite(field: str, got: str) -> InputError:
    return InputError(field, SERIES_NUMBERS, got, code="non_finite")
