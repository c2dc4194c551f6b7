"""Arrays in the MessagePack of openpi: maps with bytes for keys. Only plain numbers are read."""

import math
import re
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ShapeError

ARRAY: Final = b"__ndarray__"
SCALAR: Final = b"__npgeneric__"
DATA: Final = b"data"
DTYPE: Final = b"dtype"
SHAPE: Final = b"shape"

# No objects, no records, no texts.
NUMBERS: Final = re.compile(r"[<|=]?(?:f[248]|[iu][1248]|b1)")
MOST_AXES: Final = 8
SHOWN: Final = 40

FloatArray = NDArray[np.float64]


def packed_array(array: NDArray[Any]) -> dict[bytes, object]:
    """Gives an array as what can be encoded."""
    return {
        ARRAY: True,
        DATA: np.ascontiguousarray(array).tobytes(),
        DTYPE: array.dtype.str,
        SHAPE: list(array.shape),
    }


def read_map(body: bytes) -> dict[str, Any]:
    """Decodes a message; its arrays stay as they are sent.

    Raises:
      InputError: it is no map with texts for names.
    """
    try:
        decoded = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        got = str(error)[:SHOWN]
        raise InputError("body", "one MessagePack value", got, code="bad_type") from None
    if not isinstance(decoded, dict) or not all(isinstance(name, str) for name in decoded):
        raise InputError("body", "a map with texts for names", "another value", code="bad_type")
    return decoded


def read_numbers(value: Any, *, field: str) -> FloatArray:
    """Reads numbers: one, a list, or an array of any shape, flattened.

    Raises:
      InputError: they are none.
    """
    if isinstance(value, dict):
        return _read_array(value, field)
    numbers = value if isinstance(value, list) else [value]
    if not all(isinstance(one, int | float) for one in numbers):
        raise InputError(field, "numbers or an array of numbers", "others", code="bad_type")
    return np.array(numbers, dtype=np.float64)


def _read_array(packed: dict[Any, Any], field: str) -> FloatArray:
    name = packed.get(DTYPE)
    if not isinstance(name, str) or not NUMBERS.fullmatch(name):
        raise InputError(field, "a dtype of plain numbers", repr(name)[:SHOWN], code="bad_type")
    if SCALAR in packed:
        return read_numbers(packed.get(DATA), field=field)
    data, shape = packed.get(DATA), packed.get(SHAPE)
    if ARRAY not in packed or not isinstance(data, bytes) or not isinstance(shape, list):
        raise InputError(field, "an array", "another map", code="bad_type")
    dtype = np.dtype(name)
    is_shape = len(shape) <= MOST_AXES and all(isinstance(n, int) and n >= 0 for n in shape)
    if not is_shape or math.prod(shape) * dtype.itemsize != len(data):
        raise ShapeError(
            field, f"bytes for its shape of {name}", f"{len(data)} for {shape}"[:SHOWN]
        )
    return np.frombuffer(data, dtype=dtype).astype(np.float64)
