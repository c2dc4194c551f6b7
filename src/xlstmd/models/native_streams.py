"""Points into streams, and features of their tokens, in compiled code; see `stream_forms`."""

from collections.abc import Sequence
from ctypes import byref

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.stream_arena import StreamArena
from xlstmd.ops import native_signatures
from xlstmd.ops.native_handle import check, native_library

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def streams_of(arena: StreamArena) -> native_signatures.Streams:
    """Gives an arena as the library takes it; the arena has to outlive that."""
    return native_signatures.Streams(
        capacity=arena.points.shape[1],
        context=arena.config.context_length,
        window=arena.config.window_length,
        points=arena.points.ctypes.data,
        known=arena.known.ctypes.data,
        observed=arena.observed.ctypes.data,
        scales=arena.scale.ctypes.data,
    )


class NativeForms:
    """Looks up the addresses of an arena's arrays once."""

    def __init__(self, arena: StreamArena) -> None:
        """Keeps the arena, and with it what the addresses point to."""
        self._arena = arena
        self._config = arena.config
        self._streams = streams_of(arena)
        library = native_library()
        self._extend = library.xlstmd_streams_extend
        self._features = library.xlstmd_streams_features

    def extend(self, slots: Ints, portions: Sequence[Floats]) -> NDArray[np.bool_]:
        """Takes points in; see `stream_forms.NumpyForms.extend`."""
        values = portions[0] if len(portions) == 1 else np.concatenate(portions)
        values = np.ascontiguousarray(values, dtype=np.float64)
        counts = np.array([len(portion) for portion in portions], dtype=np.int64)
        slots = np.ascontiguousarray(slots, dtype=np.int64)
        renewed = np.empty(len(slots), dtype=np.bool_)
        parts = (slots.ctypes.data, values.ctypes.data, counts.ctypes.data, renewed.ctypes.data)
        check(self._extend(byref(self._streams), len(slots), *parts))
        return renewed

    def features(self, slots: Ints, ends: Ints, fresh: Floats) -> NDArray[np.float32]:
        """Gives features; see `stream_forms.NumpyForms.features`."""
        slots = np.ascontiguousarray(slots, dtype=np.int64)
        ends, fresh = np.ascontiguousarray(ends), np.ascontiguousarray(fresh)
        features = np.empty((*ends.shape, self._config.num_features), dtype=np.float32)
        parts = (ends.ctypes.data, fresh.ctypes.data, features.ctypes.data)
        self._features(byref(self._streams), len(slots), slots.ctypes.data, ends.shape[1], *parts)
        return features
