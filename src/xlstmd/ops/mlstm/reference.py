"""mLSTM, one step at a time: the definition every other form is compared with.

With C, n, m the memory, normalizer and stabilizer, and per head (xLSTM, arXiv:2405.04517,
equations 19-27 and the stabilization of its appendix):

    m_t = max(log f_t + m_{t-1}, log i_t)
    C_t = exp(log f_t + m_{t-1} - m_t) C_{t-1} + exp(log i_t - m_t) k_t v_t^T     (n_t likewise)
    h_t = C_t^T q_t / (max(|n_t . q_t|, exp(-m_t)) + eps),      q_t scaled by 1/sqrt(K)
"""

import math

import torch
from torch import Tensor

from xlstmd.ops.gates import hold_invalid, log_forget, soft_cap
from xlstmd.ops.mlstm.options import MLSTMOptions
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


def denominator(normalizer_dot_query: Tensor, m: Tensor, eps: float) -> Tensor:
    """Gives max(|n.q|, exp(-m)) + eps with the exponent bounded to ±80 (float64: ±600).

    Below -80 the output vanishes anyway, and no gradient meets 0 * inf; above 80 a query that
    meets nothing gives 0, not 0 / 0.
    """
    limit = 80.0 if m.dtype == torch.float32 else 600.0
    return torch.maximum(normalizer_dot_query.abs(), torch.exp(-m.clamp(-limit, limit))) + eps


def stabilizer(carried: Tensor, log_i: Tensor) -> Tensor:
    """Gives the larger one; a tie, and with it the gradient, goes to the older one.

    So that the gradient is the same however a sequence is cut, also where gates saturate.
    """
    return torch.where(carried >= log_i, carried, log_i)


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
    """Moves the memory forward by one step.

    Args:
      q, k, v: query, key and value of this step; q is not yet scaled.
      i_preact: log of the input gate before the cap; any real number.
      f_preact: forget gate before its non-linearity.
      state: memory after the step before.
      options: what function is computed.
      valid: [B, 1], False for rows whose step is padding.

    Returns:
      The output before any output gate, zero for padded rows, and the new memory.
    """
    log_i, log_f = hold_invalid(
        soft_cap(i_preact, options.gate_soft_cap),
        log_forget(soft_cap(f_preact, options.gate_soft_cap), "sigmoid"),
        valid,
    )
    C, n, m = state
    carried = log_f + m
    m_new = stabilizer(carried, log_i)
    f = torch.exp(carried - m_new).unsqueeze(-1)
    i = torch.exp(log_i - m_new).unsqueeze(-1)
    C_new = f.unsqueeze(-1) * C + (i * k).unsqueeze(-1) * v.unsqueeze(-2)
    n_new = f * n + i * k
    q = q / math.sqrt(q.shape[-1])
    readout = (C_new * q.unsqueeze(-1)).sum(-2)
    h = readout / denominator((n_new * q).sum(-1), m_new, options.eps).unsqueeze(-1)
    if valid is not None:
        h = h.masked_fill(~valid.unsqueeze(-1), 0.0)
    return h, MLSTMState(C_new, n_new, m_new)


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
    """Runs the matrix memory over a sequence, one step at a time.

    Args:
      q, k, v: queries, keys and values; q is not yet scaled.
      i_preact: log of the input gate before the cap; any real number.
      f_preact: forget gate before its non-linearity.
      state: memory after the step before the first; not modified.
      options: what function is computed.
      reset: True where the memory is emptied before the step.
      valid: False where a step is padding: memory kept, output zero.

    Returns:
      Outputs before any output gate, and the memory after the last step.
    """
    empty = MLSTMState(
        torch.zeros_like(state.matrix_memory),
        torch.zeros_like(state.normalizer),
        torch.full_like(state.stabilizer, options.stabilizer_start),
    )
    outputs = []
    for t in range(q.shape[2]):
        if reset is not None:
            rows = reset[:, t].view(-1, 1, 1, 1)
            state = MLSTMState(
                torch.where(rows, empty.matrix_memory, state.matrix_memory),
                torch.where(rows[..., 0], empty.normalizer, state.normalizer),
                torch.where(rows[..., 0, 0], empty.stabilizer, state.stabilizer),
            )
        h, state = step(
            q[:, :, t],
            k[:, :, t],
            v[:, :, t],
            i_preact[:, :, t],
            f_preact[:, :, t],
            state,
            options,
            None if valid is None else valid[:, t : t + 1],
        )
        outputs.append(h)
    return (torch.stack(outputs, dim=2) if outputs else torch.zeros_like(v)), state
