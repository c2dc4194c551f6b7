"""Named arrays as the payload of a session, and back: safetensors, never pickle."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from xlstmd.errors import SnapshotDamaged

LAYOUT: Final = "safetensors"

Arrays = Mapping[str, NDArray[Any]]


def pack_arrays(arrays: Arrays) -> bytes:
    """Writes arrays of numbers with their names, shapes and types."""
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items()})


def unpack_arrays(payload: bytes) -> dict[str, NDArray[Any]]:
    """Reads what `pack_arrays` has written.

    Raises:
      SnapshotDamaged: the bytes are something else.
    """
    try:
        return load(payload)
    except (SafetensorError, KeyError, ValueError) as error:
        raise SnapshotDamaged("arrays as safetensors", str(error)) from None
