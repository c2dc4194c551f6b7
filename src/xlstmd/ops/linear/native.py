"""The linear map in the native library: all three products of training."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.linear import reference

init = reference.init


def sequence(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Maps [..., inputs] to [..., outputs]; as the reference."""
    if not native.fits(x, weight):
        return reference.sequence(x, weight, bias)
    native.expect("x", x, (*x.shape[:-1], weight.shape[1]))
    if bias is not None:
        native.expect("bias", bias, weight.shape[:1])
    y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return y


step = sequence


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, kept = x.contiguous(), weight.contiguous()
        outputs, inputs = kept.shape
        y = x.new_empty(*x.shape[:-1], outputs)
        added = None if bias is None else bias.contiguous()
        native.run_plain(
            "xlstmd_linear",
            x.dtype,
            y.numel() // max(outputs, 1),
            inputs,
            outputs,
            rows.data_ptr(),
            kept.data_ptr(),
            native.address(added),
            y.data_ptr(),
        )
        ctx.save_for_backward(rows, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        outputs, inputs = weight.shape
        dy = dy.contiguous()
        rows = dy.numel() // max(outputs, 1)
        dx = d_weight = d_bias = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x)
            _product(rows, inputs, outputs, dy, outputs, 1, weight, dx)
        if ctx.needs_input_grad[1]:
            d_weight = torch.empty_like(weight)
            _product(outputs, inputs, rows, dy, 1, outputs, x, d_weight)
        if ctx.needs_input_grad[2]:
            d_bias = dy.reshape(-1, outputs).sum(0)
        return dx, d_weight, d_bias


def _product(
    m: int, n: int, k: int, a: Tensor, a_row: int, a_column: int, b: Tensor, c: Tensor
) -> None:
    """Computes c [m, n] = a [m, k] b [k, n]; a by its strides."""
    addresses = (a.data_ptr(), a_row, a_column, b.data_ptr(), c.data_ptr())
    native.run_plain("xlstmd_gemm", c.dtype, m, n, k, *addresses)
