"""A network run by the native library: NumPy and compiled code, no torch in the process."""

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.network_config import NetworkConfig
from xlstmd.nn.native_backbone import NativeBackbone
from xlstmd.nn.parameters import Shapes, check_weights, parameter_shapes
from xlstmd.ops.native_handle import Precision
from xlstmd.ops.native_two_layer_map import TwoLayerMap

Floats = NDArray[np.float32]


class NativeRuntime:
    """Runs what `ForecastNetwork` computes, from the same weights.

    Attributes:
      config: shape.
      precision: of the dense products.
      threads: that share one call.
      backbone: between the two maps.
      embedding: of features.
      head: to quantiles.
      state_size: numbers per state.
    """

    name = "native"

    def __init__(
        self,
        network: NetworkConfig,
        weights: Mapping[str, Floats],
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Packs the weights.

        Args:
          network: its shape.
          weights: by the names of its parameters.
          threads: that share one call; None takes one for each CPU of this process.
          precision: of the dense products; norms, gates and states stay float32.

        Raises:
          BackendUnavailable: there is no native library.
          CheckpointError: weights do not fit the shape.
        """
        threads = len(os.sched_getaffinity(0)) if threads is None else threads
        check_weights(weights, _network_shapes(network))
        self.config = network
        self.precision = precision
        self.threads = threads
        self.backbone = NativeBackbone(
            network.backbone, _of("backbone", weights), precision=precision, threads=threads
        )
        self.embedding, self.head = (
            TwoLayerMap(
                _of(part, weights), network.activation, precision=precision, threads=threads
            )
            for part in ("embedding", "head")
        )
        self.state_size = self.backbone.state_size

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first token, [B, S]."""
        return self.backbone.init_state(rows)

    def prefill(
        self, features: Floats, valid: NDArray[np.bool_], state: Floats, outputs: int
    ) -> tuple[Floats, Floats]:
        """Runs tokens; see `ForecastRuntime.prefill`."""
        config = self.config
        hidden, after = self.backbone.prefill(
            self.embedding(features), state, None if valid.all() else valid, outputs=outputs
        )
        first = features.shape[1] - outputs
        raw = self.head(hidden)
        raw = raw.reshape(len(raw), outputs, config.patch_length, config.num_quantiles)
        if config.added_feature is not None:
            raw += features[:, first:, config.added_feature, None, None]
        return raw, after

    def advance(self, features: Floats, states: Floats, slots: NDArray[np.int64]) -> None:
        """Moves states on, in place; see `ForecastRuntime.advance`."""
        self.backbone.run(self.embedding(features), states, slots, slots, outputs=0)


def _network_shapes(network: NetworkConfig) -> Shapes:
    shapes = {
        f"backbone.{name}": shape for name, shape in parameter_shapes(network.backbone).items()
    }
    width, hidden = network.backbone.width, network.hidden_width
    for part, inputs, outputs in (
        ("embedding", network.num_features, width),
        ("head", width, network.num_outputs),
    ):
        shapes |= {
            f"{part}.up.weight": (hidden, inputs),
            f"{part}.up.bias": (hidden,),
            f"{part}.down.weight": (outputs, hidden),
            f"{part}.down.bias": (outputs,),
            f"{part}.skip.weight": (outputs, inputs),
        }
        if network.has_skip_bias:
            shapes[f"{part}.skip.bias"] = (outputs,)
    return shapes


def _of(part: str, weights: Mapping[str, Floats]) -> dict[str, Floats]:
    """Gives the weights of one part by its own names."""
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): array
        for name, array in weights.items()
        if name.startswith(prefix)
    }
