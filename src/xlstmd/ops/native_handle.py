"""What every object that lives in the native library needs: handles, precisions, dense arrays."""

import ctypes
import weakref
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import BackendUnavailable, ConfigError, InputError
from xlstmd.ops.native import load_native

Floats = NDArray[np.float32]
Precision = Literal["float32", "bfloat16", "int8"]

PRECISIONS: Final[dict[str, int]] = {"float32": 0, "bfloat16": 1, "int8": 2}

_BAD_SLOTS: Final = 2


def native_library() -> ctypes.CDLL:
    """Gives the library.

    Raises:
      BackendUnavailable: there is none, with the reason.
    """
    native = load_native()
    if native.library is None:
        raise BackendUnavailable(
            f"needs the native library: {native.reason}", {"native": native.reason}
        )
    return native.library


def precision_code(precision: str) -> int:
    """Gives the library's number for a precision.

    Raises:
      ConfigError: no such precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: expected one of {', '.join(PRECISIONS)}, got {precision}")
    return PRECISIONS[precision]


def dense(array: NDArray[Any]) -> Floats:
    """Gives an array as the library reads it: float32, the last axis fastest."""
    return np.ascontiguousarray(array, dtype=np.float32)


def address(array: Any) -> int:
    """Gives where a dense array's numbers lie, four times as fast as `ctypes.data` does."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except (TypeError, ValueError):  # it is read-only, or has no numbers
        return int(array.ctypes.data)


def owned(owner: object, handle: int | None, destroy: Any) -> int:
    """Gives a handle that is destroyed with its owner.

    Raises:
      MemoryError: the library had no memory for it.
    """
    if handle is None:
        raise MemoryError("no memory for packed weights")
    weakref.finalize(owner, destroy, handle)
    return handle


def check(status: int) -> None:
    """Turns the library's status into an error.

    Raises:
      InputError: slots do not exist, or rows disturb each other's.
      MemoryError: there was no memory for scratch.
    """
    if status == _BAD_SLOTS:
        expected = "slots of the arena, no target that is another row's source or target"
        raise InputError("source, target", expected, "others")
    if status:
        raise MemoryError("no memory for the native library's scratch")
