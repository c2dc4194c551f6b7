"""The two-layer map of the native library, its weights packed once. NumPy only."""

from collections.abc import Mapping
from typing import Final, Literal

import numpy as np

from xlstmd.errors import ShapeError
from xlstmd.ops.native_handle import (
    Floats,
    Precision,
    check,
    dense,
    native_library,
    owned,
    precision_code,
)
from xlstmd.ops.native_pool import pool

_ACTIVATIONS: Final[dict[str, int]] = {"silu": 0, "relu": 1}


class TwoLayerMap:
    """down(activation(up(x))) + skip(x), as `forecast_network.TwoLayerMap`.

    Attributes:
      inputs: of the last axis.
      outputs: likewise.
      handle: of the library.
    """

    def __init__(
        self,
        weights: Mapping[str, Floats],
        activation: Literal["silu", "relu"],
        *,
        precision: Precision = "float32",
        threads: int = 1,
    ) -> None:
        """Packs the weights.

        Args:
          weights: `up.weight` [hidden, inputs], `down.weight` [outputs, hidden], `skip.weight`
            [outputs, inputs], their biases `up.bias`, `down.bias` and, where it has one,
            `skip.bias`.
          activation: between the layers.
          precision: of the products.
          threads: that share one product.

        Raises:
          BackendUnavailable: there is no native library.
        """
        library = native_library()
        kept = {name: dense(array) for name, array in weights.items()}
        hidden, self.inputs = kept["up.weight"].shape
        self.outputs = kept["down.weight"].shape[0]
        names = ("up.weight", "up.bias", "down.weight", "down.bias", "skip.weight", "skip.bias")
        places = [kept[name].ctypes.data if name in kept else None for name in names]
        self._threads = threads
        self.handle = owned(
            self,
            library.xlstmd_two_layer_map_create(
                self.inputs,
                hidden,
                self.outputs,
                *places,
                _ACTIVATIONS[activation],
                precision_code(precision),
            ),
            library.xlstmd_two_layer_map_destroy,
        )
        self._run = library.xlstmd_two_layer_map_run

    def __call__(self, x: Floats) -> Floats:
        """Maps [..., inputs] to [..., outputs].

        Raises:
          ShapeError: the last axis is another one.
        """
        if x.shape[-1] != self.inputs:
            raise ShapeError("x", f"[..., {self.inputs}]", f"{list(x.shape)}")
        x = dense(x)
        y = np.empty((*x.shape[:-1], self.outputs), dtype=np.float32)
        rows = x.size // self.inputs
        check(self._run(pool(self._threads), self.handle, rows, x.ctypes.data, y.ctypes.data))
        return y
