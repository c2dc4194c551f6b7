"""The gated feed-forward layer in the native library: one call, with the exact backward pass."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.feedforward import reference
from xlstmd.ops.feedforward.reference import Activation
from xlstmd.ops.native_signatures import FeedForwardProblem
from xlstmd.ops.products import PRODUCTS, Products

init = reference.init


def sequence(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    activation: Activation,
    products: Products = "float32",
) -> Tensor:
    """Runs the layer; arguments and result as in the reference."""
    if not native.fits(x, gate, up, down):
        return reference.sequence(x, gate, up, down, activation, products)
    hidden, width = gate.shape
    native.expect("x", x, (*x.shape[:-1], width))
    native.expect("up", up, (hidden, width))
    native.expect("down", down, (width, hidden))
    tensors = (x, gate, up, down)
    if native.wants_gradient(tensors):
        y: Tensor = _FeedForward.apply(activation, products, *tensors)  # type: ignore[no-untyped-call]
        return y
    return _forward(activation, products, native.dense(tensors, x.dtype), keep=False)[0]


step = sequence


def _forward(
    activation: Activation, products: Products, tensors: list[Tensor], *, keep: bool
) -> tuple[Tensor, Tensor | None, FeedForwardProblem]:
    x, *weights = tensors
    hidden, width = weights[0].shape
    rows = native.rows_of(x)
    problem = FeedForwardProblem(
        rows=rows,
        width=width,
        hidden=hidden,
        gelu=activation == "gelu",
        products=PRODUCTS[products],
    )
    y = torch.empty_like(x)
    saved = x.new_empty(2, rows, hidden) if keep else None
    native.run(
        "xlstmd_feedforward_forward",
        x.dtype,
        problem,
        native.address(x),
        native.addresses(weights),
        native.address(y),
        native.address(saved),
    )
    return y, saved, problem


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Activation, products: Products, *tensors: Tensor) -> Tensor:
        dense = native.dense(tensors, tensors[0].dtype)
        y, saved, ctx.problem = _forward(activation, products, dense, keep=True)
        ctx.save_for_backward(*dense, saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, *weights, saved = ctx.saved_tensors
        dy = dy.contiguous()
        dx, slopes = torch.empty_like(x), [torch.empty_like(weight) for weight in weights]
        native.run(
            "xlstmd_feedforward_backward",
            dy.dtype,
            ctx.problem,
            native.address(x),
            native.addresses(weights),
            native.address(saved),
            native.address(dy),
            native.address(dx),
            native.addresses(slopes),
        )
        return None, None, dx, *slopes
