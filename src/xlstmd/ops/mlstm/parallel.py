"""mLSTM over a whole sequence at once: quadratic in T, no loop over time.

With D_ij = sum_{j<s<=i} log f_s + log i_j for j <= i of one segment (xLSTM, arXiv:2405.04517,
appendix on the parallel form). The sums are built by masking and adding, never as differences of
cumulative sums, so that forget gates of exp(-10000) lose no digit.
"""

import math

import torch
from torch import Tensor

from xlstmd.ops.gates import hold_invalid, log_forget, soft_cap
from xlstmd.ops.mlstm import reference
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.mlstm.reference import denominator, stabilizer
from xlstmd.ops.state import MLSTMState
from xlstmd.shapes import GatePreacts, Queries, StepMask, Values

init = MLSTMState.zeros
step = reference.step


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
    if q.shape[2] == 0:
        return torch.zeros_like(v), state
    C0, n0, m0 = state
    log_i, log_f = hold_invalid(
        soft_cap(i_preact, options.gate_soft_cap),
        log_forget(soft_cap(f_preact, options.gate_soft_cap), "sigmoid"),
        None if valid is None else valid.unsqueeze(1),
    )
    q = q / math.sqrt(q.shape[-1])
    log_weights, carried, first = _log_weights(log_i, log_f, m0, options, reset)
    # `max` with an axis picks the first of equals, the oldest step.
    m = stabilizer(carried, log_weights.max(-1).values)
    weights = torch.exp(log_weights - m.unsqueeze(-1))
    beta = torch.exp(carried - m)
    if first is not None:
        beta = beta * first
    scores = (q @ k.transpose(-1, -2)) * weights
    readout = scores @ v + beta.unsqueeze(-1) * (q @ C0)
    dot = scores.sum(-1) + beta * _rows_dot(q, n0)
    h = readout / denominator(dot, m, options.eps).unsqueeze(-1)
    if valid is not None:
        h = h.masked_fill(~valid[:, None, :, None], 0.0)
    last = weights[:, :, -1].unsqueeze(-1) * k  # [B, H, T, K]
    keep = beta[:, :, -1].unsqueeze(-1)
    C = keep.unsqueeze(-1) * C0 + last.transpose(-1, -2) @ v
    return h, MLSTMState(C, keep * n0 + last.sum(-2), m[:, :, -1])


def _log_weights(
    log_i: Tensor, log_f: Tensor, m0: Tensor, options: MLSTMOptions, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gives what every output sees of every step, and of the memory that came in.

    Returns:
      D [B, H, T, T], -inf where a step is not seen; the stabilizer that a memory without input
      would have [B, H, T]; and where the memory that came in is still seen, None for everywhere.
    """
    T = log_i.shape[-1]
    causal = torch.ones(T, T, dtype=torch.bool, device=log_i.device).tril()
    log_decay = torch.where(causal.tril(-1), log_f.unsqueeze(-1), 0.0).cumsum(-2)  # [B, H, T, T]
    log_weights = log_decay + log_i.unsqueeze(-2)
    if reset is None:
        carried = m0.unsqueeze(-1) + log_f.cumsum(-1)
        return log_weights.masked_fill(~causal, -torch.inf), carried, None
    segment = reset.long().cumsum(-1)
    visible = (causal & (segment.unsqueeze(-1) == segment.unsqueeze(-2))).unsqueeze(1)
    first = (segment == 0).unsqueeze(1)
    start = torch.where(first, m0.unsqueeze(-1), options.stabilizer_start)
    carried = start + torch.where(visible, log_f.unsqueeze(-2), 0.0).sum(-1)
    return log_weights.masked_fill(~visible, -torch.inf), carried, first


def _rows_dot(q: Tensor, n: Tensor) -> Tensor:
    return (q @ n.unsqueeze(-1)).squeeze(-1)
