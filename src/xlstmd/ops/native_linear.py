"""A linear map of the native library, its weights packed once. NumPy only."""

import numpy as np

from xlstmd.errors import ShapeError
from xlstmd.ops.native_handle import (
    Floats,
    Precision,
    address,
    check,
    dense,
    native_library,
    owned,
    precision_code,
)
from xlstmd.ops.native_pool import pool


class PackedLinear:
    """y = x W^T + bias for one W and many x.

    `bfloat16` rounds weights and inputs and sums in float32; `int8` scales each output's weights
    to whole numbers of 8 bits, each row of inputs to ones of 15 bits, and sums those exactly.

    Attributes:
      inputs, outputs: sizes of the map.
      handle: of the library.
      bias: where the bias lies, [outputs]; None for none.
    """

    def __init__(
        self,
        weight: Floats,
        bias: Floats | None = None,
        *,
        precision: Precision = "float32",
        threads: int = 1,
    ) -> None:
        """Packs the weights.

        Args:
          weight: [outputs, inputs].
          bias: [outputs], or None.
          precision: of the products.
          threads: that share one product.

        Raises:
          BackendUnavailable: there is no native library.
          ConfigError: no such precision.
          ShapeError: the weight is no matrix, or the bias does not fit.
        """
        if weight.ndim != 2:
            raise ShapeError("weight", "[outputs, inputs]", f"{list(weight.shape)}")
        self.outputs, self.inputs = weight.shape
        if bias is not None and bias.shape != (self.outputs,):
            raise ShapeError("bias", f"[{self.outputs}]", f"{list(bias.shape)}")
        library = native_library()
        weight = dense(weight)
        self._kept = None if bias is None else dense(bias).copy()
        self.bias = None if self._kept is None else address(self._kept)
        self._threads = threads
        self.handle = owned(
            self,
            library.xlstmd_matrix_create(
                self.outputs, self.inputs, weight.ctypes.data, precision_code(precision)
            ),
            library.xlstmd_matrix_destroy,
        )
        self._product = library.xlstmd_matrix_product

    def __call__(self, x: Floats) -> Floats:
        """Maps [..., inputs] to [..., outputs].

        Raises:
          ShapeError: the last axis is another one.
        """
        if x.shape[-1] != self.inputs:
            raise ShapeError("x", f"[..., {self.inputs}]", f"{list(x.shape)}")
        x = dense(x)
        y = np.empty((*x.shape[:-1], self.outputs), dtype=np.float32)
        rows = x.size // self.inputs if self.inputs else 0
        status = self._product(
            pool(self._threads), self.handle, rows, address(x), self.bias, address(y)
        )
        if status:
            check(status)
        return y
