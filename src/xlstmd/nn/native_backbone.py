"""A whole backbone in the native library: all blocks in one call, states in slots. NumPy only.

It computes what `nn.backbone.Backbone` does with the same weights, and keeps states in the layout
of `BackboneState.to_flat`.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ShapeError
from xlstmd.nn.config import (
    BackboneConfig,
    BlockConfig,
    MLSTMBlockConfig,
    SLSTMBlockConfig,
)
from xlstmd.nn.parameters import check_weights, parameter_shapes
from xlstmd.ops.native_handle import (
    Precision,
    check,
    dense,
    native_library,
    owned,
    precision_code,
)
from xlstmd.ops.native_pool import pool
from xlstmd.ops.native_signatures import BackboneBlock

Floats = NDArray[np.float32]
Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Parameters of a block in the order of `xlstmd_weight`.
_PLACES: Final = (
    "norm.weight",
    "layer.head_norm.weight",
    "feedforward_norm.weight",
    "feedforward.gate.weight",
    "feedforward.up.weight",
    "feedforward.down.weight",
    "layer.conv.weight",
    "layer.conv.bias",
    "layer.input_gate.weight",
    "layer.input_gate.bias",
    "layer.forget_gate.weight",
    "layer.forget_gate.bias",
    "layer.cell_input.weight",
    "layer.output_gate.weight",
    "layer.recurrent",
    "layer.bias",
    "layer.query.weight",
    "layer.key.weight",
    "layer.value.weight",
    "layer.out.weight",
    "layer.up.weight",
    "layer.gate.weight",
    "layer.skip",
    "layer.down.weight",
)


class NativeBackbone:
    """Blocks over an arena of slots; the arena belongs to the caller.

    Attributes:
      config: shape.
      precision: of dense products.
      threads: that share one call.
      state_size: numbers of a slot, S.
      nbytes: of the packed weights.
      handle: of the library.
    """

    def __init__(
        self,
        config: BackboneConfig,
        weights: Mapping[str, Floats],
        *,
        precision: Precision = "float32",
        threads: int = 1,
    ) -> None:
        """Packs the weights.

        Args:
          config: shape.
          weights: by the parameter names of `Backbone`; exactly those.
          precision: of dense products. With `int8` recurrent maps are bfloat16, gates of an mLSTM
            float32.
          threads: that share one call.

        Raises:
          BackendUnavailable: there is no native library.
          CheckpointError: a weight is missing, left over or of another shape.
        """
        library = native_library()
        shapes = parameter_shapes(config)
        check_weights(weights, shapes)
        kept = {name: dense(weights[name]) for name in shapes}
        blocks = (BackboneBlock * len(config.blocks))()
        for index, block in enumerate(config.blocks):
            blocks[index] = _described(block, f"blocks.{index}.", kept)
        self.config = config
        self.precision = precision
        self.threads = threads
        self.handle = owned(
            self,
            library.xlstmd_backbone_create(
                config.width,
                len(config.blocks),
                blocks,
                int(config.norm == "rms"),
                config.norm_eps,
                kept["norm.weight"].ctypes.data,
                precision_code(precision),
            ),
            library.xlstmd_backbone_destroy,
        )
        self._forward = library.xlstmd_backbone_forward
        self.state_size: int = library.xlstmd_backbone_state_size(self.handle)
        self.nbytes: int = library.xlstmd_backbone_bytes(self.handle)
        self._empty = np.empty(self.state_size, dtype=np.float32)
        library.xlstmd_backbone_clear(self.handle, self._empty.ctypes.data)

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first step, [B, S]."""
        return np.tile(self._empty, (rows, 1))

    def prefill(
        self,
        x: Floats,
        state: Floats,
        valid: Mask | None = None,
        reset: Mask | None = None,
        outputs: int | None = None,
    ) -> tuple[Floats, Floats]:
        """Runs sequences.

        Args:
          x: [B, T, D].
          state: before the first step, [B, S]; not modified.
          valid: [B, T], False where a step is padding; its output means nothing.
          reset: [B, T], True where the memory is emptied before the step.
          outputs: of how many of the last steps outputs are wanted; None for all.

        Returns:
          Outputs [B, outputs, D], and states after the last step [B, S].

        Raises:
          ShapeError: arrays do not fit each other.
        """
        if len(state) != len(x):
            raise ShapeError("state", f"[{len(x)}, {self.state_size}]", f"{list(state.shape)}")
        after = np.array(state, dtype=np.float32, order="C")
        slots = np.arange(len(x), dtype=np.int64)
        return self.run(x, after, slots, slots, valid, reset, outputs), after

    def step(self, x: Floats, arena: Floats, source: Slots, target: Slots) -> Floats:
        """Runs one step [B, D] of streams whose states lie in slots; see `run`."""
        return self.run(x[:, None], arena, source, target)[:, 0]

    def run(
        self,
        x: Floats,
        arena: Floats,
        source: Slots,
        target: Slots,
        valid: Mask | None = None,
        reset: Mask | None = None,
        outputs: int | None = None,
    ) -> Floats:
        """Runs sequences of streams whose states lie in slots.

        Args:
          x: [B, T, D].
          arena: [slots, S], float32 and dense; changed in place.
          source: [B], slot that each row starts from.
          target: [B], slot that it ends in; its own source, or one that no other row names.
          valid: as in `prefill`.
          reset: as in `prefill`.
          outputs: as in `prefill`.

        Returns:
          Outputs [B, outputs, D]; a row's do not depend on the other rows, to the last bit.

        Raises:
          InputError: a slot does not exist, or rows disturb each other.
          ShapeError: arrays do not fit each other.
        """
        x = dense(x)
        if x.ndim != 3 or x.shape[2] != self.config.width:
            raise ShapeError("x", f"[rows, steps, {self.config.width}]", f"{list(x.shape)}")
        rows, steps, _ = x.shape
        outputs = steps if outputs is None else outputs
        if not 0 <= outputs <= steps:
            raise InputError("outputs", f"0 to {steps}", str(outputs))
        check_arena(arena, self.state_size)
        source, target = _slots("source", source, rows), _slots("target", target, rows)
        masks = (_bytes(reset, "reset", rows, steps), _bytes(valid, "valid", rows, steps))
        y = np.empty((rows, outputs, x.shape[2]), dtype=np.float32)
        status = self._forward(
            pool(self.threads),
            self.handle,
            rows,
            steps,
            outputs,
            x.ctypes.data,
            *(None if mask is None else mask.ctypes.data for mask in masks),
            len(arena),
            arena.ctypes.data,
            source.ctypes.data,
            target.ctypes.data,
            y.ctypes.data,
        )
        check(status)
        return y


def _described(block: BlockConfig, prefix: str, weights: Mapping[str, Floats]) -> BackboneBlock:
    spec = BackboneBlock(
        heads=block.num_heads, norm_eps=block.norm_eps, head_norm_eps=block.norm_eps
    )
    if isinstance(block, SLSTMBlockConfig):
        spec.kind, spec.conv_window = 0, block.conv_window
        spec.exp_forget = int(block.forget_gate == "exp")
        spec.cap = block.gate_soft_cap or 0.0
        spec.head_norm_eps = block.head_eps
    elif isinstance(block, MLSTMBlockConfig):
        spec.kind, spec.qk_width, spec.value_width = 1, block.qk_width, block.value_width
        spec.cap = block.gate_soft_cap or 0.0
    else:
        spec.kind, spec.qk_width, spec.value_width = 2, block.head_width, block.head_width
        spec.inner, spec.conv_window = block.inner_width, block.conv_window
        spec.projection_block = block.projection_block
    if not isinstance(block, SLSTMBlockConfig):
        spec.eps, spec.stabilizer_start = block.eps, block.stabilizer_start
    if isinstance(block, SLSTMBlockConfig | MLSTMBlockConfig):
        spec.rms_norm = int(block.norm == "rms")
        spec.hidden = block.feedforward.hidden_width(block.width)
        spec.gelu = int(block.feedforward.activation == "gelu")
    for place, name in enumerate(_PLACES):
        if prefix + name in weights:
            spec.weights[place] = weights[prefix + name].ctypes.data
    return spec


def check_arena(arena: Floats, state_size: int) -> None:
    """Refuses what is no arena of slots [slots, S].

    Raises:
      ShapeError: it has another shape, or is not dense writable float32.
    """
    if arena.ndim != 2 or arena.shape[1] != state_size:
        raise ShapeError("arena", f"[slots, {state_size}]", f"{list(arena.shape)}")
    if arena.dtype != np.float32 or not arena.flags.c_contiguous or not arena.flags.writeable:
        raise ShapeError("arena", "dense writable float32", f"{arena.dtype}, {arena.strides}")


def _slots(name: str, given: Any, rows: int) -> Slots:
    places = np.ascontiguousarray(given, dtype=np.int64)
    if places.shape != (rows,):
        raise ShapeError(name, f"[{rows}]", f"{list(places.shape)}")
    return places


def _bytes(mask: Mask | None, name: str, rows: int, steps: int) -> NDArray[np.uint8] | None:
    if mask is None:
        return None
    if mask.shape != (rows, steps):
        raise ShapeError(name, f"[{rows}, {steps}]", f"{list(mask.shape)}")
    return np.ascontiguousarray(mask, dtype=np.bool_).view(np.uint8)
