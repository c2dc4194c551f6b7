"""sLSTM, one step at a time: the definition every other form is compared with.

Per unit, with c, n, m the cell, normalizer and stabilizer and heads that never mix (xLSTM,
arXiv:2405.04517, equations 8-18 and the stabilization of its section 2.2):

    i~, f~, z~, o~ = preacts_t + R h_{t-1}
    m_t = max(log f_t + m_{t-1}, i~)
    c_t = exp(log f_t + m_{t-1} - m_t) c_{t-1} + exp(i~ - m_t) tanh(z~)
    n_t = exp(log f_t + m_{t-1} - m_t) n_{t-1} + exp(i~ - m_t)
    h_t = sigmoid(o~) c_t / n_t

n_t >= 1 after the first step, because one of the two exponentials is always 1.
"""

import torch
from torch import Tensor

from xlstmd.ops.gates import hold_invalid, log_forget, soft_cap
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.start import STABILIZER_START
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
    """Moves the memory forward by one step.

    Args:
      preacts: gate pre-activations from the input, bias included, in the order input, forget,
        cell input, output.
      recurrent: R[head, from unit, gate, to unit].
      state: memory after the step before.
      options: what function is computed.
      valid: [B, 1, 1], False for rows whose step is padding.

    Returns:
      The output, zero for padded rows, and the new memory.
    """
    h, c, n, m = state
    i, f, z, o = (preacts + torch.einsum("bhd,hdge->bghe", h, recurrent)).unbind(1)
    log_i, log_f = hold_invalid(
        soft_cap(i, options.gate_soft_cap),
        log_forget(soft_cap(f, options.gate_soft_cap), options.forget_gate),
        valid,
    )
    m_new = torch.maximum(log_f + m, log_i)
    keep = torch.exp(log_f + m - m_new)
    take = torch.exp(log_i - m_new)
    c_new = keep * c + take * torch.tanh(z)
    n_new = keep * n + take
    # n is 0 only where nothing but padding has been seen.
    h_new = torch.sigmoid(o) * c_new / torch.where(n_new == 0, torch.ones_like(n_new), n_new)
    if valid is None:
        return h_new, SLSTMState(h_new, c_new, n_new, m_new)
    return h_new.masked_fill(~valid, 0.0), SLSTMState(
        torch.where(valid, h_new, h), c_new, n_new, m_new
    )


def sequence(
    preacts: SLSTMPreacts,
    recurrent: SLSTMRecurrent,
    state: SLSTMState,
    options: SLSTMOptions,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[SLSTMOutputs, SLSTMState]:
    """Runs the scalar memories over a sequence, one step at a time.

    Args:
      preacts: gate pre-activations from the input, bias included, in the order input, forget,
        cell input, output.
      recurrent: R[head, from unit, gate, to unit].
      state: memory after the step before the first; not modified.
      options: what function is computed.
      reset: True where the memory is emptied before the step.
      valid: False where a step is padding: memory kept, output zero.

    Returns:
      Outputs, and the memory after the last step.
    """
    outputs = []
    for t in range(preacts.shape[1]):
        if reset is not None:
            rows = reset[:, t].view(-1, 1, 1)
            h, c, n = (torch.where(rows, torch.zeros_like(x), x) for x in state[:3])
            m = state.stabilizer
            state = SLSTMState(h, c, n, torch.where(rows, torch.full_like(m, STABILIZER_START), m))
        h, state = step(
            preacts[:, t],
            recurrent,
            state,
            options,
            None if valid is None else valid[:, t].view(-1, 1, 1),
        )
        outputs.append(h)
    if not outputs:
        return preacts.new_zeros(preacts.shape[0], 0, *preacts.shape[3:]), state
    return torch.stack(outputs, dim=1), state
