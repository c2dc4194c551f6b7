"""What Python must know of the native library's functions: types of arguments and results.

The meaning of each stands in `native/xlstmd_native.h`. Arrays are passed as addresses, which numpy
gives as `array.ctypes.data` and torch as `tensor.data_ptr()`; None is a null.
"""

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_void_p
from typing import Any, Final


class SLSTMProblem(ctypes.Structure):
    """Shape and rules of an sLSTM sequence: `xlstmd_slstm_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("steps", c_int64),
        ("heads", c_int64),
        ("units", c_int64),
        ("exp_forget", c_int32),
        ("cap", c_double),
        ("reset", c_void_p),
        ("valid", c_void_p),
    )


class MLSTMProblem(ctypes.Structure):
    """Shape and rules of an mLSTM sequence: `xlstmd_mlstm_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("heads", c_int64),
        ("steps", c_int64),
        ("qk_width", c_int64),
        ("value_width", c_int64),
        ("eps", c_double),
        ("stabilizer_start", c_double),
        ("cap", c_double),
        ("reset", c_void_p),
        ("valid", c_void_p),
    )


class InPlaceMLSTM(ctypes.Structure):
    """What stays from step to step of one memory: `xlstmd_mlstm_stepper`."""

    _fields_ = (
        ("pool", c_void_p),
        ("problem", POINTER(MLSTMProblem)),
        ("C", c_void_p),
        ("n", c_void_p),
        ("m", c_void_p),
        ("out", c_void_p),
    )


class ConvProblem(ctypes.Structure):
    """Shape of a convolution over a sequence: `xlstmd_conv_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("steps", c_int64),
        ("units", c_int64),
        ("window", c_int64),
        ("reset", c_void_p),
        ("valid", c_void_p),
    )


class LinearProblem(ctypes.Structure):
    """Shape of a linear map, and how it multiplies: `xlstmd_linear_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("products", c_int32),
    )


class HeadwiseProblem(ctypes.Structure):
    """Shape of maps with diagonal blocks: `xlstmd_headwise_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("parts", c_int64),
        ("groups", c_int64),
        ("inputs", c_int64),
        ("outputs", c_int64),
    )


class NormProblem(ctypes.Structure):
    """Shape and kind of a norm: `xlstmd_norm_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("groups", c_int64),
        ("units", c_int64),
        ("centered", c_int32),
        ("eps", c_double),
    )


class FeedForwardProblem(ctypes.Structure):
    """Shape and activation of a gated layer: `xlstmd_feedforward_problem`."""

    _fields_ = (
        ("rows", c_int64),
        ("width", c_int64),
        ("hidden", c_int64),
        ("gelu", c_int32),
        ("products", c_int32),
    )


class Scale(ctypes.Structure):
    """The frozen scale of a series, and what decides when it is renewed: `xlstmd_scale`."""

    _fields_ = (
        ("mean", c_double),
        ("deviation", c_double),
        ("count", c_double),
        ("sum", c_double),
        ("squares", c_double),
        ("anchor", c_int64),
        ("jumps", c_int64),
    )


class Streams(ctypes.Structure):
    """Arrays of streams in slots: `xlstmd_streams`."""

    _fields_ = (
        ("capacity", c_int64),
        ("context", c_int64),
        ("window", c_int64),
        ("points", c_void_p),
        ("known", c_void_p),
        ("observed", c_void_p),
        ("scales", c_void_p),
    )


class QuantilePlan(ctypes.Structure):
    """What is asked of quantile functions: `xlstmd_quantile_plan`."""

    _fields_ = (
        ("known", c_int64),
        ("widths", c_void_p),
        ("low", c_double),
        ("high", c_double),
        ("low_log", c_double),
        ("high_log", c_double),
        ("wanted", c_int64),
        ("places", c_void_p),
        ("shares", c_void_p),
    )


class Scores(ctypes.Structure):
    """What the points of streams are scored by: `xlstmd_scores`."""

    _fields_ = (
        ("patch", c_int64),
        ("remembered", c_int64),
        ("levels", c_void_p),
        ("plan", c_void_p),
        ("observed", c_void_p),
        ("made_at", c_void_p),
        ("quantiles", c_void_p),
        ("surprises", c_void_p),
    )


class StreamNetwork(ctypes.Structure):
    """Streams and the network that looks at them: `xlstmd_stream_network`."""

    _fields_ = (
        ("pool", c_void_p),
        ("backbone", c_void_p),
        ("embedding", c_void_p),
        ("head", c_void_p),
        ("patch", c_int64),
        ("added_feature", c_int64),
        ("streams", POINTER(Streams)),
        ("slots", c_int64),
        ("states", c_void_p),
        ("encoded", c_void_p),
    )


# How many weights a block of a backbone may have: `XLSTMD_NUM_WEIGHTS`.
NUM_BLOCK_WEIGHTS: Final = 24


class BackboneBlock(ctypes.Structure):
    """Shape, rules and weights of one block: `xlstmd_block`."""

    _fields_ = (
        ("kind", c_int32),
        ("rms_norm", c_int32),
        ("exp_forget", c_int32),
        ("gelu", c_int32),
        ("heads", c_int64),
        ("qk_width", c_int64),
        ("value_width", c_int64),
        ("inner", c_int64),
        ("projection_block", c_int64),
        ("conv_window", c_int64),
        ("hidden", c_int64),
        ("norm_eps", c_double),
        ("head_norm_eps", c_double),
        ("cap", c_double),
        ("eps", c_double),
        ("stabilizer_start", c_double),
        ("weights", c_void_p * NUM_BLOCK_WEIGHTS),
    )


class Stepper(ctypes.Structure):
    """What stays from step to step of a backbone between two maps: `xlstmd_stepper`."""

    _fields_ = (
        ("pool", c_void_p),
        ("backbone", c_void_p),
        ("into", c_void_p),
        ("into_bias", c_void_p),
        ("out_of", c_void_p),
        ("out_of_bias", c_void_p),
        ("x", c_void_p),
        ("slots", c_int64),
        ("arena", c_void_p),
        ("source", c_void_p),
        ("target", c_void_p),
        ("y", c_void_p),
    )


# An address of numbers, and an address of several such addresses.
_DATA: Final = c_void_p
_PARTS: Final = c_void_p
_POOL: Final = c_void_p
_MATRIX: Final = c_void_p
_BACKBONE: Final = c_void_p
_MAP: Final = c_void_p
# Where a structure lies, as a number: a pointer would be an object to make for every step.
_STEPPER: Final = c_void_p
_NETWORK: Final = c_void_p
_PLAN: Final = c_void_p
_SCORES: Final = c_void_p

_SLSTM: Final = POINTER(SLSTMProblem)
_SLSTM_FORWARD: Final = (_POOL, _SLSTM, _DATA, _DATA, _PARTS, _DATA, _PARTS, _DATA)
_SLSTM_BACKWARD: Final = (_POOL, _SLSTM, _DATA, _DATA, _DATA, _PARTS, _DATA, _DATA, _PARTS)

_MLSTM: Final = POINTER(MLSTMProblem)
_MLSTM_FORWARD: Final = (_POOL, _MLSTM, _PARTS, _PARTS, _DATA, _PARTS, _DATA)
_MLSTM_BACKWARD: Final = (_POOL, _MLSTM, _PARTS, _PARTS, *(_DATA,) * 3, *(_PARTS,) * 3)
_CONV: Final = POINTER(ConvProblem)
_CONV_FORWARD: Final = (_POOL, _CONV, *(_DATA,) * 6)
_CONV_BACKWARD: Final = (_POOL, _CONV, *(_DATA,) * 9)
_GEMM: Final = (_POOL, c_int64, c_int64, c_int64, _DATA, c_int64, c_int64, _DATA, _DATA)
_HEADWISE: Final = POINTER(HeadwiseProblem)
_HEADWISE_FORWARD: Final = (_POOL, _HEADWISE, _PARTS, _PARTS, _DATA, _DATA)
_HEADWISE_BACKWARD: Final = (_POOL, _HEADWISE, _PARTS, _PARTS, _DATA, _PARTS, _PARTS, _DATA)
_NORM: Final = POINTER(NormProblem)
_NORM_FORWARD: Final = (_POOL, _NORM, *(_DATA,) * 3)
_NORM_BACKWARD: Final = (_POOL, _NORM, *(_DATA,) * 5)
_FEEDFORWARD: Final = POINTER(FeedForwardProblem)
_FEEDFORWARD_FORWARD: Final = (_POOL, _FEEDFORWARD, _DATA, _PARTS, _DATA, _DATA)
_FEEDFORWARD_BACKWARD: Final = (_POOL, _FEEDFORWARD, _DATA, _PARTS, *(_DATA,) * 3, _PARTS)
_LINEAR: Final = POINTER(LinearProblem)
_LINEAR_FORWARD: Final = (_POOL, _LINEAR, *(_DATA,) * 4)
_LINEAR_BACKWARD: Final = (_POOL, _LINEAR, *(_DATA,) * 6)

# Name: (result, arguments). One line for each function that Python calls.
SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "xlstmd_abi_version": (c_int32, ()),
    "xlstmd_built_for": (c_char_p, ()),
    "xlstmd_pool_create": (_POOL, (c_int32,)),
    "xlstmd_pool_create_on": (_POOL, (c_int32, c_void_p, c_void_p)),
    "xlstmd_pool_destroy": (None, (_POOL,)),
    "xlstmd_scale_advance": (
        c_int32,
        (POINTER(Scale), _DATA, c_int64, c_int64, c_int64, POINTER(c_int64), POINTER(c_int32)),
    ),
    "xlstmd_streams_extend": (
        c_int32,
        (POINTER(Streams), c_int64, _DATA, _DATA, _DATA, _DATA),
    ),
    "xlstmd_streams_features": (
        None,
        (POINTER(Streams), c_int64, _DATA, c_int64, _DATA, _DATA, _DATA),
    ),
    "xlstmd_streams_append": (c_int32, (_NETWORK, c_int64, *(_DATA,) * 4)),
    "xlstmd_streams_quantiles": (c_int32, (_NETWORK, c_int64, _DATA, c_int64, _DATA)),
    "xlstmd_streams_forecast": (
        c_int32,
        (_NETWORK, _PLAN, c_int64, _DATA, c_int64, *(_DATA,) * 4),
    ),
    "xlstmd_streams_score": (None, (_SCORES, c_int64, *(_DATA,) * 7)),
    "xlstmd_quantiles_in_units": (
        c_int32,
        (_PLAN, c_int64, c_int64, _DATA, c_int64, *(_DATA,) * 6),
    ),
    "xlstmd_measure_fma": (c_double, (_POOL, c_double)),
    "xlstmd_measure_read": (c_double, (_POOL, c_int64, c_double)),
    "xlstmd_matrix_create": (_MATRIX, (c_int64, c_int64, _DATA, c_int32)),
    "xlstmd_matrix_destroy": (None, (_MATRIX,)),
    "xlstmd_matrix_product": (c_int32, (_POOL, _MATRIX, c_int64, _DATA, _DATA, _DATA)),
    "xlstmd_backbone_create": (
        _BACKBONE,
        (c_int64, c_int64, POINTER(BackboneBlock), c_int32, c_double, _DATA, c_int32),
    ),
    "xlstmd_backbone_destroy": (None, (_BACKBONE,)),
    "xlstmd_backbone_state_size": (c_int64, (_BACKBONE,)),
    "xlstmd_backbone_bytes": (c_int64, (_BACKBONE,)),
    "xlstmd_backbone_clear": (None, (_BACKBONE, _DATA)),
    "xlstmd_backbone_forward": (
        c_int32,
        (_POOL, _BACKBONE, *(c_int64,) * 3, *(_DATA,) * 3, c_int64, *(_DATA,) * 4),
    ),
    "xlstmd_stepper_run": (c_int32, (_STEPPER, c_int64)),
    "xlstmd_two_layer_map_create": (
        _MAP,
        (c_int64, c_int64, c_int64, *(_DATA,) * 6, c_int32, c_int32),
    ),
    "xlstmd_two_layer_map_destroy": (None, (_MAP,)),
    "xlstmd_two_layer_map_bytes": (c_int64, (_MAP,)),
    "xlstmd_two_layer_map_run": (c_int32, (_POOL, _MAP, c_int64, _DATA, _DATA)),
    "xlstmd_slstm_saved_f32": (c_int64, (_SLSTM,)),
    "xlstmd_slstm_saved_f64": (c_int64, (_SLSTM,)),
    "xlstmd_slstm_forward_f32": (c_int32, _SLSTM_FORWARD),
    "xlstmd_slstm_forward_f64": (c_int32, _SLSTM_FORWARD),
    "xlstmd_slstm_backward_f32": (c_int32, _SLSTM_BACKWARD),
    "xlstmd_slstm_backward_f64": (c_int32, _SLSTM_BACKWARD),
    "xlstmd_mlstm_saved_f32": (c_int64, (_MLSTM,)),
    "xlstmd_mlstm_saved_f64": (c_int64, (_MLSTM,)),
    "xlstmd_mlstm_forward_f32": (c_int32, _MLSTM_FORWARD),
    "xlstmd_mlstm_forward_f64": (c_int32, _MLSTM_FORWARD),
    "xlstmd_mlstm_backward_f32": (c_int32, _MLSTM_BACKWARD),
    "xlstmd_mlstm_backward_f64": (c_int32, _MLSTM_BACKWARD),
    "xlstmd_mlstm_stepper_run": (c_int32, (_STEPPER, *(_DATA,) * 5)),
    "xlstmd_conv_forward_f32": (c_int32, _CONV_FORWARD),
    "xlstmd_conv_forward_f64": (c_int32, _CONV_FORWARD),
    "xlstmd_conv_backward_f32": (c_int32, _CONV_BACKWARD),
    "xlstmd_conv_backward_f64": (c_int32, _CONV_BACKWARD),
    "xlstmd_map_f32": (None, (c_int32, c_int64, _DATA, _DATA)),
    "xlstmd_gemm_f32": (c_int32, _GEMM),
    "xlstmd_gemm_f64": (c_int32, _GEMM),
    "xlstmd_linear_forward_f32": (c_int32, _LINEAR_FORWARD),
    "xlstmd_linear_forward_f64": (c_int32, _LINEAR_FORWARD),
    "xlstmd_linear_backward_f32": (c_int32, _LINEAR_BACKWARD),
    "xlstmd_linear_backward_f64": (c_int32, _LINEAR_BACKWARD),
    "xlstmd_headwise_forward_f32": (c_int32, _HEADWISE_FORWARD),
    "xlstmd_headwise_forward_f64": (c_int32, _HEADWISE_FORWARD),
    "xlstmd_headwise_backward_f32": (c_int32, _HEADWISE_BACKWARD),
    "xlstmd_headwise_backward_f64": (c_int32, _HEADWISE_BACKWARD),
    "xlstmd_norm_forward_f32": (c_int32, _NORM_FORWARD),
    "xlstmd_norm_forward_f64": (c_int32, _NORM_FORWARD),
    "xlstmd_norm_backward_f32": (c_int32, _NORM_BACKWARD),
    "xlstmd_norm_backward_f64": (c_int32, _NORM_BACKWARD),
    "xlstmd_feedforward_forward_f32": (c_int32, _FEEDFORWARD_FORWARD),
    "xlstmd_feedforward_forward_f64": (c_int32, _FEEDFORWARD_FORWARD),
    "xlstmd_feedforward_backward_f32": (c_int32, _FEEDFORWARD_BACKWARD),
    "xlstmd_feedforward_backward_f64": (c_int32, _FEEDFORWARD_BACKWARD),
}


def declare(library: ctypes.CDLL) -> list[str]:
    """Sets the types of every function; gives the names that the library lacks."""
    missing = []
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            missing.append(name)
            continue
        function.restype = result
        function.argtypes = arguments
    return missing
