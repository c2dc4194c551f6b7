"""sLSTM in the native library: the whole recurrence in one call, heads and rows over threads."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.native_signatures import SLSTMProblem
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import SLSTMState
from xlstmd.shapes import (
    SLSTMOutputs,
    SLSTMPreacts,
    SLSTMPreactsStep,
    SLSTMRecurrent,
    SLSTMUnits,
    StepMask,
)

init = SLSTMState.zeros


def step(
    preacts: SLSTMPreactsStep,
    recurrent: SLSTMRecurrent,
    state: SLSTMState,
    options: SLSTMOptions,
    valid: Tensor | None = None,
) -> tuple[SLSTMUnits, SLSTMState]:
    """Moves the memory forward by one step; arguments and result as in the reference."""
    steps = None if valid is None else valid.squeeze(-1)
    h, state = sequence(preacts.unsqueeze(1), recurrent, state, options, None, steps)
    return h.squeeze(1), state


def sequence(
    preacts: SLSTMPreacts,
    recurrent: SLSTMRecurrent,
    state: SLSTMState,
    options: SLSTMOptions,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[SLSTMOutputs, SLSTMState]:
    """Runs the scalar memories over a sequence; arguments and result as in the reference."""
    B, T, G, H, D = preacts.shape
    native.expect("preacts", preacts, (B, T, 4, H, D))
    native.expect("recurrent", recurrent, (H, D, G, D))
    for name, part in state._asdict().items():
        native.expect(name, part, (B, H, D))
    if T == 0:
        return preacts.new_zeros(B, 0, H, D), state
    tensors = native.dense((preacts, recurrent, *state), state.cell.dtype)
    masks = native.mask("reset", reset, B, T), native.mask("valid", valid, B, T)
    if native.wants_gradient(tensors):
        h, *last = _Sequence.apply(options, *masks, *tensors)  # type: ignore[no-untyped-call]
    else:
        h, *last = _forward(_problem(tensors, options, *masks), tensors, None)
    return h, SLSTMState(*last)


def _problem(
    tensors: list[Tensor], options: SLSTMOptions, reset: Tensor | None, valid: Tensor | None
) -> SLSTMProblem:
    B, T, _, H, D = tensors[0].shape
    return SLSTMProblem(
        rows=B,
        steps=T,
        heads=H,
        units=D,
        exp_forget=options.forget_gate == "exp",
        cap=options.gate_soft_cap or 0.0,
        reset=native.address(reset),
        valid=native.address(valid),
    )


def _forward(
    problem: SLSTMProblem, tensors: list[Tensor], saved: Tensor | None
) -> tuple[Tensor, ...]:
    preacts, recurrent, *start = tensors
    h = preacts.new_empty(problem.rows, problem.steps, problem.heads, problem.units)
    end = [torch.empty_like(part) for part in start]
    native.run(
        "xlstmd_slstm_forward",
        h.dtype,
        problem,
        native.address(preacts),
        native.address(recurrent),
        native.addresses(start),
        native.address(h),
        native.addresses(end),
        native.address(saved),
    )
    return h, *end


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        options: SLSTMOptions,
        reset: Tensor | None,
        valid: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        problem = _problem(list(tensors), options, reset, valid)
        size = native.size("xlstmd_slstm_saved", tensors[0].dtype, problem)
        saved = tensors[0].new_empty(size)
        result = _forward(problem, list(tensors), saved)
        ctx.problem, ctx.masks = problem, (reset, valid)
        ctx.save_for_backward(*tensors, saved)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, *d_end: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, saved = ctx.saved_tensors
        d_h, *ends = (slope.contiguous() for slope in (d_h, *d_end))
        slopes = [torch.empty_like(tensor) for tensor in tensors]
        native.run(
            "xlstmd_slstm_backward",
            saved.dtype,
            ctx.problem,
            native.address(tensors[1]),
            native.address(saved),
            native.address(d_h),
            native.addresses(ends),
            native.address(slopes[0]),
            native.address(slopes[1]),
            native.addresses(slopes[2:]),
        )
        return None, None, None, *slopes
