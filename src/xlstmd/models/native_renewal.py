"""When the scale of a series is renewed, natively; equal to `renewal` to the last bit."""

from ctypes import byref, c_int32, c_int64

import numpy as np

from xlstmd.models.renewal import Floats, Scale
from xlstmd.ops import native_signatures
from xlstmd.ops.native_handle import check, native_library


def advance(scale: Scale, points: Floats, seen: int, context_length: int) -> tuple[int, bool]:
    """Moves a scale over points; see `renewal.advance`."""
    points = np.ascontiguousarray(points, dtype=np.float64)
    state = native_signatures.Scale(
        scale.mean,
        scale.deviation,
        scale.count,
        scale.sum,
        scale.squares,
        scale.anchor,
        scale.jumps,
    )
    dropped, renewed = c_int64(), c_int32()
    status = native_library().xlstmd_scale_advance(
        byref(state),
        points.ctypes.data,
        len(points),
        seen,
        context_length,
        byref(dropped),
        byref(renewed),
    )
    check(status)
    scale.mean, scale.deviation, scale.count = state.mean, state.deviation, state.count
    scale.sum, scale.squares = state.sum, state.squares
    scale.anchor, scale.jumps = state.anchor, state.jumps
    return dropped.value, bool(renewed.value)
