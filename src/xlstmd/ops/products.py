"""How products of training are computed: as they are, or with factors rounded to bfloat16."""

import math
from typing import Any, Final, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

Products = Literal["float32", "bfloat16"]

# The native library's numbers for them.
PRODUCTS: Final[dict[Products, int]] = {"float32": 0, "bfloat16": 1}


def linear(x: Tensor, weight: Tensor, products: Products) -> Tensor:
    """Gives x W^T, its gradients computed likewise: the definition.

    Args:
      x: [..., inputs].
      weight: [outputs, inputs].
      products: `bfloat16` rounds both factors of this product and of its gradients' products, and
        sums in float32; a float64 map is not rounded.
    """
    if products == "float32" or x.dtype == torch.float64:
        return functional.linear(x, weight)
    y: Tensor = _Rounded.apply(x, weight)  # type: ignore[no-untyped-call]
    return y


def _round(x: Tensor) -> Tensor:
    return x.bfloat16().to(x.dtype)


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.linear(_round(x), _round(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = (_round(saved) for saved in ctx.saved_tensors)
        dy = _round(dy)
        rows = math.prod(x.shape[:-1])
        d_weight = dy.reshape(rows, dy.shape[-1]).t() @ x.reshape(rows, x.shape[-1])
        return dy @ weight, d_weight
