"""sLSTM over a sequence: one matrix product and a handful of whole-batch operations a step.

The recurrence cannot be unrolled, but its gradient carries only four quantities from step to step:
the backward pass computes every gate for all steps at once and keeps the loop short. It is exact,
the stabilizer's part included, so that the final state may enter a loss.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from xlstmd.ops.gates import hold_invalid, log_forget, soft_cap
from xlstmd.ops.slstm import reference
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.start import STABILIZER_START
from xlstmd.ops.state import SLSTMState
from xlstmd.shapes import SLSTMOutputs, SLSTMPreacts, SLSTMRecurrent, StepMask

init = SLSTMState.zeros
step = reference.step


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
    if T == 0:
        return preacts.new_zeros(B, 0, H, D), state
    steps = preacts.permute(1, 3, 0, 2, 4).reshape(T, H, B, G * D)
    matrix = recurrent.reshape(H, D, G * D)
    first = (part.transpose(0, 1) for part in state)
    masks = (_rows(reset), _rows(valid))
    out, *last = _Recurrence.apply(steps, matrix, *first, options, *masks)  # type: ignore[no-untyped-call]
    return out.permute(2, 0, 1, 3), SLSTMState(*(part.transpose(0, 1) for part in last))


def _rows(mask: Tensor | None) -> Tensor | None:
    """Turns a mask [B, T] into [T, 1, B, 1]."""
    return None if mask is None else mask.t()[:, None, :, None]


def _nonzero(n: Tensor) -> Tensor:
    """Gives the normalizer, 1 where nothing but padding has been seen."""
    return n.masked_fill(n == 0, 1.0)


class _Recurrence(torch.autograd.Function):
    """Axes inside: [T, H, B, D], the four gates side by side in the last one."""

    @staticmethod
    def forward(
        ctx: Any,
        steps: Tensor,
        matrix: Tensor,
        h: Tensor,
        c: Tensor,
        n: Tensor,
        m: Tensor,
        options: SLSTMOptions,
        reset: Tensor | None,
        valid: Tensor | None,
    ) -> tuple[Tensor, ...]:
        T, H, B, width = steps.shape
        D = width // 4
        preacts = torch.empty_like(steps)
        # What each step starts from (after its reset) and what it ends with.
        starts = steps.new_empty(4, T, H, B, D)
        ends = steps.new_empty(4, T, H, B, D)
        for t in range(T):
            if reset is not None:
                h, c, n = (part.masked_fill(reset[t], 0.0) for part in (h, c, n))
                m = m.masked_fill(reset[t], STABILIZER_START)
            torch.stack((h, c, n, m), out=starts[:, t])
            torch.baddbmm(steps[t], h, matrix, out=preacts[t])
            i, f, z, o = preacts[t].split(D, dim=-1)
            log_i, log_f = _log_gates(i, f, options, None if valid is None else valid[t])
            carried = log_f + m
            m = torch.maximum(carried, log_i)
            keep = torch.exp(carried - m)
            take = torch.exp(log_i - m)
            c = keep * c + take * torch.tanh(z)
            n = keep * n + take
            new = torch.sigmoid(o) * c / _nonzero(n)
            h = new if valid is None else torch.where(valid[t], new, h)
            torch.stack((h, c, n, m), out=ends[:, t])
        out = ends[0].clone() if valid is None else ends[0].masked_fill(~valid, 0.0)
        ctx.options, ctx.reset, ctx.valid = options, reset, valid
        ctx.save_for_backward(preacts, matrix, starts, ends)
        return out, *ends[:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, d_out: Tensor, dh: Tensor, dc: Tensor, dn: Tensor, dm: Tensor
    ) -> tuple[Tensor | None, ...]:
        preacts, matrix, starts, ends = ctx.saved_tensors
        reset, valid = ctx.reset, ctx.valid
        h0, c0, n0, _ = starts
        keep, take, from_carried, cell_in, ratio, to_cell, *slopes = _slopes(
            preacts, starts, ends, ctx.options, valid
        )
        to_i, to_f, to_z, to_o = slopes
        if valid is not None:
            d_out = d_out.masked_fill(~valid, 0.0)
        d_preacts = torch.empty_like(preacts)
        turned = matrix.transpose(-1, -2)
        for t in reversed(range(len(preacts))):
            dh_all = dh + d_out[t]
            dh_new = dh_all if valid is None else dh_all.masked_fill(~valid[t], 0.0)
            through = dh_new * to_cell[t]
            dc = dc + through
            dn = dn - through * ratio[t]
            d_kept = (dc * c0[t] + dn * n0[t]) * keep[t]
            d_taken = (dc * cell_in[t] + dn) * take[t]
            dm_all = dm - d_kept - d_taken
            dm = d_kept + from_carried[t] * dm_all
            d_log_i = d_taken + (1.0 - from_carried[t]) * dm_all
            parts = (d_log_i * to_i[t], dm * to_f[t], dc * to_z[t], dh_new * to_o[t])
            torch.cat(parts, dim=-1, out=d_preacts[t])
            dc, dn = dc * keep[t], dn * keep[t]
            dh = torch.bmm(d_preacts[t], turned)
            if valid is not None:
                dh = dh + dh_all.masked_fill(valid[t], 0.0)
            if reset is not None:
                dh, dc, dn, dm = (part.masked_fill(reset[t], 0.0) for part in (dh, dc, dn, dm))
        sources = h0.transpose(0, 1).flatten(1, 2)
        d_matrix = sources.transpose(1, 2) @ d_preacts.transpose(0, 1).flatten(1, 2)
        return d_preacts, d_matrix, dh, dc, dn, dm, None, None, None


def _slopes(
    preacts: Tensor, starts: Tensor, ends: Tensor, options: SLSTMOptions, valid: Tensor | None
) -> tuple[Tensor, ...]:
    """Gives everything the backward pass needs of the forward one, for all steps at once.

    Returns:
      What is kept and taken, the share of the stabilizer that was carried, the cell input, c / n,
      d h / d c, and the derivatives by the pre-activations of all gates.
    """
    i, f, z, o = (gate.contiguous() for gate in preacts.chunk(4, dim=-1))
    _, c, n, m = ends
    log_i, log_f = _log_gates(i, f, options, valid)
    carried = log_f + starts[3]
    keep, take = torch.exp(carried - m), torch.exp(log_i - m)
    # Where the maximum of the stabilizer came from; a tie is shared, as torch.maximum does.
    from_carried = (carried > log_i).to(m) + 0.5 * (carried == log_i).to(m)
    n = _nonzero(n)
    gate_o, cell_in = torch.sigmoid(o), torch.tanh(z)
    ratio = c / n
    to_i, to_f = _gate_slopes(i, f, options)
    if valid is not None:
        to_f = to_f.masked_fill(~valid, 0.0)
    to_z = take * (1.0 - cell_in * cell_in)
    to_o = ratio * gate_o * (1.0 - gate_o)
    return keep, take, from_carried, cell_in, ratio, gate_o / n, to_i, to_f, to_z, to_o


def _log_gates(
    i: Tensor, f: Tensor, options: SLSTMOptions, valid: Tensor | None
) -> tuple[Tensor, Tensor]:
    return hold_invalid(
        soft_cap(i, options.gate_soft_cap),
        log_forget(soft_cap(f, options.gate_soft_cap), options.forget_gate),
        valid,
    )


def _gate_slopes(i: Tensor, f: Tensor, options: SLSTMOptions) -> tuple[Tensor, Tensor]:
    """Gives the derivatives of both gates' logs by their pre-activations."""
    cap = options.gate_soft_cap
    to_i, to_f = torch.ones_like(i), torch.ones_like(f)
    if cap is not None:
        to_i, to_f = (1.0 - torch.tanh(gate / cap).square() for gate in (i, f))
        f = soft_cap(f, cap)
    if options.forget_gate == "sigmoid":
        to_f = to_f * functional.sigmoid(-f)
    return to_i, to_f
