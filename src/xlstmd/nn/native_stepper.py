"""Steps of a native backbone with next to nothing around them. NumPy only."""

import ctypes

import numpy as np

from xlstmd.errors import InputError, ShapeError
from xlstmd.nn.native_backbone import Floats, NativeBackbone, check_arena
from xlstmd.ops.native_handle import address, check, native_library
from xlstmd.ops.native_linear import PackedLinear
from xlstmd.ops.native_pool import pool
from xlstmd.ops.native_signatures import Stepper


class NativeStepper:
    """Steps of streams in one arena, from an input map to an output map in one call.

    A step gives what the input map, the backbone's step and the output map give one after the
    other, to the last bit. Inputs, slots and outputs have arrays of their own, whose addresses are
    looked up once.

    Attributes:
      x: [rows, inputs of the input map, or else D]; to be filled before a step.
      source: [rows], slot that each row starts from.
      target: [rows], slot that it ends in.
      y: [rows, outputs of the output map, or else D], outputs of the last step.
    """

    def __init__(
        self,
        backbone: NativeBackbone,
        arena: Floats,
        rows: int,
        *,
        input_map: PackedLinear | None = None,
        output_map: PackedLinear | None = None,
    ) -> None:
        """Looks up everything that stays.

        Args:
          backbone: what to run; its threads run the maps too.
          arena: [slots, S], float32 and dense; changed in place.
          rows: most rows of a step.
          input_map: to the backbone's width; None where `x` has it.
          output_map: of the backbone's outputs; None where they are wanted as they are.

        Raises:
          ShapeError: the arena or a map does not fit the backbone.
        """
        check_arena(arena, backbone.state_size)
        width = backbone.config.width
        if input_map is not None and input_map.outputs != width:
            raise ShapeError("input_map", f"{width} outputs", str(input_map.outputs))
        if output_map is not None and output_map.inputs != width:
            raise ShapeError("output_map", f"{width} inputs", str(output_map.inputs))
        inputs = width if input_map is None else input_map.inputs
        outputs = width if output_map is None else output_map.outputs
        self.x = np.zeros((rows, inputs), dtype=np.float32)
        self.y = np.zeros((rows, outputs), dtype=np.float32)
        self.source = np.zeros(rows, dtype=np.int64)
        self.target = np.zeros(rows, dtype=np.int64)
        arrays = (arena, self.x, self.y, self.source, self.target)
        spec = Stepper(
            pool=pool(backbone.threads),
            backbone=backbone.handle,
            into=None if input_map is None else input_map.handle,
            into_bias=None if input_map is None else input_map.bias,
            out_of=None if output_map is None else output_map.handle,
            out_of_bias=None if output_map is None else output_map.bias,
            x=address(self.x),
            slots=len(arena),
            arena=address(arena),
            source=address(self.source),
            target=address(self.target),
            y=address(self.y),
        )
        # Addresses must not outlive what they point to, whatever becomes of the attributes.
        self._kept = (spec, backbone, input_map, output_map, arrays)
        self._spec = ctypes.addressof(spec)
        self._rows = rows
        self._run = native_library().xlstmd_stepper_run

    def step(self, rows: int) -> None:
        """Runs one step of the first `rows` rows.

        Raises:
          InputError: a slot does not exist, or rows disturb each other; no state is changed then.
        """
        if not 0 <= rows <= self._rows:
            raise InputError("rows", f"0 to {self._rows}", str(rows))
        status = self._run(self._spec, rows)
        if status:
            check(status)
