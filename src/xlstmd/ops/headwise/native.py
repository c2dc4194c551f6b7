"""Linear maps with diagonal blocks in the native library: all maps in one call, with gradients."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.errors import ShapeError
from xlstmd.ops import native_tensor as native
from xlstmd.ops.headwise import reference
from xlstmd.ops.native_signatures import HeadwiseProblem

init = reference.init


def sequence(inputs: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """Maps each group of units; arguments and result as in the reference."""
    tensors = (*inputs, *weights) if bias is None else (*inputs, *weights, bias)
    if not native.fits(*tensors):
        return reference.sequence(inputs, weights, bias)
    _check(inputs, weights, bias)
    # Maps that share an input share its gradient: each tensor enters once.
    distinct = list({id(x): x for x in inputs}.values())
    places = tuple(next(i for i, y in enumerate(distinct) if y is x) for x in inputs)
    y: Tensor = _Headwise.apply(places, bias, *distinct, *weights)  # type: ignore[no-untyped-call]
    return y


step = sequence


def _check(inputs: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None) -> None:
    if len(inputs) != len(weights) or not weights:
        raise ShapeError("weights", f"{max(len(inputs), 1)} maps", f"{len(weights)}")
    groups, group_in, group_out = weights[0].shape
    for index, (x, weight) in enumerate(zip(inputs, weights, strict=True)):
        native.expect(f"inputs[{index}]", x, (*inputs[0].shape[:-1], groups * group_in))
        native.expect(f"weights[{index}]", weight, (groups, group_in, group_out))
    if bias is not None:
        native.expect("bias", bias, (len(weights), groups, group_out))


class _Headwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, places: tuple[int, ...], bias: Tensor | None, *tensors: Tensor) -> Tensor:
        xs, weights = tensors[: -len(places)], tensors[-len(places) :]
        xs, weights = tuple(x.contiguous() for x in xs), tuple(w.contiguous() for w in weights)
        added = None if bias is None else bias.contiguous()
        groups, group_in, group_out = weights[0].shape
        problem = HeadwiseProblem(
            rows=native.rows_of(xs[0]),
            parts=len(places),
            groups=groups,
            inputs=group_in,
            outputs=group_out,
        )
        y = xs[0].new_empty(*xs[0].shape[:-1], len(places), groups, group_out)
        native.run(
            "xlstmd_headwise_forward",
            y.dtype,
            problem,
            native.addresses([xs[place] for place in places]),
            native.addresses(weights),
            native.address(added),
            native.address(y),
        )
        ctx.problem, ctx.places, ctx.has_bias = problem, places, bias is not None
        ctx.save_for_backward(*xs, *weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        places = ctx.places
        xs, weights = ctx.saved_tensors[: -len(places)], ctx.saved_tensors[-len(places) :]
        dy = dy.contiguous()
        dxs, d_weights = ([torch.empty_like(x) for x in each] for each in (xs, weights))
        d_bias = dy.new_empty(dy.shape[-3:]) if ctx.has_bias else None
        native.run(
            "xlstmd_headwise_backward",
            dy.dtype,
            ctx.problem,
            native.addresses([xs[place] for place in places]),
            native.addresses(weights),
            native.address(dy),
            native.addresses([dxs[place] for place in places]),
            native.addresses(d_weights),
            native.address(d_bias),
        )
        return None, d_bias, *dxs, *d_weights
