"""The linear map in the native library: all three products of training."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.linear import reference
from xlstmd.ops.native_signatures import LinearProblem
from xlstmd.ops.products import PRODUCTS, Products

init = reference.init


def sequence(
    x: Tensor, weight: Tensor, bias: Tensor | None, products: Products = "float32"
) -> Tensor:
    """Maps [..., inputs] to [..., outputs]; as the reference."""
    tensors = (x, weight) if bias is None else (x, weight, bias)
    if not native.fits(*tensors):
        return reference.sequence(x, weight, bias, products)
    native.expect("x", x, (*x.shape[:-1], weight.shape[1]))
    if bias is not None:
        native.expect("bias", bias, weight.shape[:1])
    y: Tensor = _Linear.apply(x, weight, bias, products)  # type: ignore[no-untyped-call]
    return y


step = sequence


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, products: Products
    ) -> Tensor:
        rows, kept = x.contiguous(), weight.contiguous()
        outputs, inputs = kept.shape
        y = x.new_empty(*x.shape[:-1], outputs)
        added = None if bias is None else bias.contiguous()
        problem = LinearProblem(
            rows=native.rows_of(x),
            inputs=inputs,
            outputs=outputs,
            products=PRODUCTS[products],
        )
        parts = (rows, kept, added, y)
        native.run("xlstmd_linear_forward", x.dtype, problem, *map(native.address, parts))
        ctx.problem = problem
        ctx.save_for_backward(rows, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dy = dy.contiguous()
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        dx = torch.empty_like(x) if wants_x else None
        d_weight = torch.empty_like(weight) if wants_weight else None
        d_bias = dy.new_empty(weight.shape[0]) if wants_bias else None
        parts = (x, weight, dy, dx, d_weight, d_bias)
        native.run("xlstmd_linear_backward", dy.dtype, ctx.problem, *map(native.address, parts))
        return dx, d_weight, d_bias, None
