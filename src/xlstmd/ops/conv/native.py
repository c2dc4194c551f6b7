"""Causal depthwise convolution in the native library."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.native_signatures import ConvProblem
from xlstmd.ops.state import ConvState
from xlstmd.shapes import ConvBias, ConvWeight, Hidden, HiddenStep, StepMask

init = ConvState.zeros


def step(
    x: HiddenStep,
    weight: ConvWeight,
    bias: ConvBias | None,
    state: ConvState,
    valid: Tensor | None = None,
) -> tuple[HiddenStep, ConvState]:
    """Filters one step; arguments and result as in the reference."""
    y, state = sequence(x.unsqueeze(1), weight, bias, state, None, valid)
    return y.squeeze(1), state


def sequence(
    x: Hidden,
    weight: ConvWeight,
    bias: ConvBias | None,
    state: ConvState,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[Hidden, ConvState]:
    """Filters a sequence; arguments and result as in the reference."""
    B, T, D = x.shape
    window = weight.shape[-1]
    native.expect("weight", weight, (D, window))
    native.expect("window", state.window, (B, window - 1, D))
    if bias is not None:
        native.expect("bias", bias, (D,))
    if T == 0:
        return torch.zeros_like(x), state
    dtype = state.window.dtype
    x, weight, start = native.dense((x, weight, state.window), dtype)
    bias = None if bias is None else bias.to(dtype).contiguous()
    masks = native.mask("reset", reset, B, T), native.mask("valid", valid, B, T)
    if native.wants_gradient((x, weight, bias, start)):
        y, end = _Sequence.apply(*masks, x, weight, bias, start)  # type: ignore[no-untyped-call]
    else:
        y, end = _forward(_problem(x, weight, *masks), x, weight, bias, start)
    return y, ConvState(end)


def _problem(x: Tensor, weight: Tensor, reset: Tensor | None, valid: Tensor | None) -> ConvProblem:
    B, T, D = x.shape
    return ConvProblem(
        rows=B,
        steps=T,
        units=D,
        window=weight.shape[1],
        reset=native.address(reset),
        valid=native.address(valid),
    )


def _forward(
    problem: ConvProblem, x: Tensor, weight: Tensor, bias: Tensor | None, start: Tensor
) -> tuple[Tensor, Tensor]:
    y, end = torch.empty_like(x), torch.empty_like(start)
    places = map(native.address, (x, weight, bias, start, y, end))
    native.run("xlstmd_conv_forward", x.dtype, problem, *places)
    return y, end


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        reset: Tensor | None,
        valid: Tensor | None,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        start: Tensor,
    ) -> tuple[Tensor, Tensor]:
        problem = _problem(x, weight, reset, valid)
        ctx.problem, ctx.masks, ctx.bias = problem, (reset, valid), bias is not None
        ctx.save_for_backward(x, weight, start)
        return _forward(problem, x, weight, bias, start)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor, d_end: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, start = ctx.saved_tensors
        d_y, d_end = d_y.contiguous(), d_end.contiguous()
        d_x, d_weight, d_start = map(torch.empty_like, (x, weight, start))
        d_bias = weight.new_empty(len(weight)) if ctx.bias else None
        tensors = x, weight, start, d_y, d_end, d_x, d_weight, d_bias, d_start
        native.run("xlstmd_conv_backward", x.dtype, ctx.problem, *map(native.address, tensors))
        return None, None, d_x, d_weight, d_bias, d_start
