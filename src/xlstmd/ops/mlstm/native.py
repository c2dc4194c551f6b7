"""mLSTM in the native library: chunks on all threads, one pass over the memory for a single step.

The backward pass is exact, the stabilizer's part included; its formulas: `native/mlstm_backward.h`.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from xlstmd.ops import native_tensor as native
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.native_signatures import MLSTMProblem
from xlstmd.ops.state import MLSTMState
from xlstmd.shapes import (
    GatePreacts,
    GatePreactsStep,
    Queries,
    QueriesStep,
    StepMask,
    Values,
    ValuesStep,
)

init = MLSTMState.zeros


def step(
    q: QueriesStep,
    k: QueriesStep,
    v: ValuesStep,
    i_preact: GatePreactsStep,
    f_preact: GatePreactsStep,
    state: MLSTMState,
    options: MLSTMOptions,
    valid: Tensor | None = None,
) -> tuple[ValuesStep, MLSTMState]:
    """Moves the memory forward by one step; arguments and result as in the reference."""
    q, k, v, i_preact, f_preact = (x.unsqueeze(2) for x in (q, k, v, i_preact, f_preact))
    h, state = sequence(q, k, v, i_preact, f_preact, state, options, None, valid)
    return h.squeeze(2), state


def sequence(
    q: Queries,
    k: Queries,
    v: Values,
    i_preact: GatePreacts,
    f_preact: GatePreacts,
    state: MLSTMState,
    options: MLSTMOptions,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[Values, MLSTMState]:
    """Runs the matrix memory over a sequence; arguments and result as in the reference."""
    B, H, T, K = q.shape
    _check_shapes(k, v, i_preact, f_preact, state, (B, H, T, K))
    if T == 0:
        return torch.zeros_like(v), state
    tensors = native.dense((q, k, v, i_preact, f_preact, *state), state.matrix_memory.dtype)
    masks = native.mask("reset", reset, B, T), native.mask("valid", valid, B, T)
    if native.wants_gradient(tensors):
        h, *last = _Sequence.apply(options, *masks, *tensors)  # type: ignore[no-untyped-call]
    else:
        h, *last = _forward(_problem(tensors, options, *masks), tensors, None)
    return h, MLSTMState(*last)


def _check_shapes(
    k: Tensor, v: Tensor, i: Tensor, f: Tensor, state: MLSTMState, shape: tuple[int, int, int, int]
) -> None:
    B, H, T, K = shape
    V = v.shape[-1]
    native.expect("k", k, shape)
    native.expect("v", v, (B, H, T, V))
    native.expect("i_preact", i, (B, H, T))
    native.expect("f_preact", f, (B, H, T))
    native.expect("matrix_memory", state.matrix_memory, (B, H, K, V))
    native.expect("normalizer", state.normalizer, (B, H, K))
    native.expect("stabilizer", state.stabilizer, (B, H))


def _problem(
    tensors: list[Tensor], options: MLSTMOptions, reset: Tensor | None, valid: Tensor | None
) -> MLSTMProblem:
    B, H, T, K = tensors[0].shape
    return MLSTMProblem(
        rows=B,
        heads=H,
        steps=T,
        qk_width=K,
        value_width=tensors[2].shape[-1],
        eps=options.eps,
        stabilizer_start=options.stabilizer_start,
        cap=options.gate_soft_cap or 0.0,
        reset=native.address(reset),
        valid=native.address(valid),
    )


def _forward(
    problem: MLSTMProblem, tensors: list[Tensor], saved: Tensor | None
) -> tuple[Tensor, ...]:
    inputs, start = tensors[:5], tensors[5:]
    h = torch.empty_like(tensors[2])
    end = [torch.empty_like(part) for part in start]
    native.run(
        "xlstmd_mlstm_forward",
        h.dtype,
        problem,
        native.addresses(inputs),
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
        options: MLSTMOptions,
        reset: Tensor | None,
        valid: Tensor | None,
        *tensors: Tensor,
    ) -> tuple[Tensor, ...]:
        problem = _problem(list(tensors), options, reset, valid)
        size = native.size("xlstmd_mlstm_saved", tensors[0].dtype, problem)
        saved = tensors[0].new_empty(size)
        h, *end = _forward(problem, list(tensors), saved)
        ctx.problem, ctx.masks = problem, (reset, valid)
        ctx.save_for_backward(*tensors, h, saved)
        ctx.set_materialize_grads(False)
        return h, *end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor | None, *d_end: Tensor | None) -> tuple[Tensor | None, ...]:
        *tensors, h, saved = ctx.saved_tensors
        d_h = torch.zeros_like(h) if d_h is None else d_h.contiguous()
        ends = [None if part is None else part.contiguous() for part in d_end]
        slopes = [torch.empty_like(tensor) for tensor in tensors]
        native.run(
            "xlstmd_mlstm_backward",
            h.dtype,
            ctx.problem,
            native.addresses(tensors[:5]),
            native.addresses(tensors[5:]),
            native.address(h),
            native.address(saved),
            native.address(d_h),
            native.addresses(ends),
            native.addresses(slopes[:5]),
            native.addresses(slopes[5:]),
        )
        return None, None, None, *slopes
