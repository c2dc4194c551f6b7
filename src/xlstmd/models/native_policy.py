"""A policy's network run by the native library: NumPy and compiled code, no torch."""

from collections.abc import Mapping

from xlstmd.models.policy_config import PolicyConfig
from xlstmd.models.policy_runtime import Floats, Mask, Slots, policy_shapes
from xlstmd.nn.native_backbone import NativeBackbone
from xlstmd.nn.native_stepper import NativeStepper
from xlstmd.nn.parameters import check_weights
from xlstmd.ops.native_handle import Precision
from xlstmd.ops.native_linear import PackedLinear

_BACKBONE = "backbone."


class NativePolicyRuntime:
    """Runs what `PolicyNetwork` computes, from the same weights; a step is one call.

    Attributes:
      precision: of the dense products.
      state_size: numbers per state, S.
    """

    name = "native"

    def __init__(
        self,
        config: PolicyConfig,
        weights: Mapping[str, Floats],
        threads: int = 1,
        precision: Precision = "float32",
    ) -> None:
        """Packs the weights.

        Args:
          config: shape.
          weights: by the names of its parameters.
          threads: that share one call.
          precision: of the dense products; norms, gates and states stay float32.

        Raises:
          BackendUnavailable: there is no native library.
          CheckpointError: weights do not fit the shape.
        """
        check_weights(weights, policy_shapes(config))
        self.precision = precision
        own = {
            name.removeprefix(_BACKBONE): array
            for name, array in weights.items()
            if name.startswith(_BACKBONE)
        }
        self._backbone = NativeBackbone(config.backbone, own, precision=precision, threads=threads)
        self._embedding, self._head = (
            PackedLinear(
                weights[f"{part}.weight"],
                weights[f"{part}.bias"],
                precision=precision,
                threads=threads,
            )
            for part in ("embedding", "head")
        )
        self.state_size = self._backbone.state_size

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first step, [B, S]."""
        return self._backbone.init_state(rows)

    def run(self, inputs: Floats, arena: Floats, slots: Slots, reset: Mask | None = None) -> Floats:
        """Runs several steps; see `PolicyRuntime.run`."""
        hidden = self._embedding(inputs)
        return self._head(self._backbone.run(hidden, arena, slots, slots, reset=reset))

    def stepper(self, arena: Floats, rows: int) -> NativeStepper:
        """Prepares steps; see `PolicyRuntime.stepper`."""
        return NativeStepper(
            self._backbone, arena, rows, input_map=self._embedding, output_map=self._head
        )
