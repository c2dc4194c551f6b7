"""Norms in the native library, with the exact backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.native_signatures import NormProblem
from xlstmd.ops.norm import reference

init = reference.init


def sequence(x: Tensor, weight: Tensor, eps: float, *, centered: bool) -> Tensor:
    """Normalizes the last axis; arguments and result as in the reference."""
    if not native.fits(x, weight):
        return reference.sequence(x, weight, eps, centered=centered)
    axes = weight.dim()
    native.expect("x", x, (*x.shape[: x.dim() - axes], *weight.shape))
    y: Tensor = _Norm.apply(x, weight, eps, centered)  # type: ignore[no-untyped-call]
    return y


step = sequence


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, centered: bool) -> Tensor:
        rows, kept = x.contiguous(), weight.contiguous()
        problem = NormProblem(
            rows=native.rows_of(rows, kept.dim()),
            groups=kept.numel() // max(kept.shape[-1], 1),
            units=kept.shape[-1],
            centered=centered,
            eps=eps,
        )
        y = torch.empty_like(rows)
        native.run("xlstmd_norm_forward", x.dtype, problem, *map(native.address, (rows, kept, y)))
        ctx.problem = problem
        ctx.save_for_backward(rows, kept)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx, d_weight = torch.empty_like(x), torch.empty_like(weight)
        parts = (x, weight, dy.contiguous(), dx, d_weight)
        native.run("xlstmd_norm_backward", x.dtype, ctx.problem, *map(native.address, parts))
        return dx, d_weight, None, None
