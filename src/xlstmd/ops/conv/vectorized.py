"""Causal depthwise convolution over a whole sequence at once.

Padding is moved behind the steps that count, so that neighbors in the window are neighbors in
memory; a tap that would reach across a reset is masked.
"""

import torch
from torch import Tensor
from torch.nn import functional

from xlstmd.ops.conv import reference
from xlstmd.ops.state import ConvState
from xlstmd.shapes import ConvBias, ConvWeight, Hidden, StepMask

init = ConvState.zeros
step = reference.step


def sequence(
    x: Hidden,
    weight: ConvWeight,
    bias: ConvBias | None,
    state: ConvState,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[Hidden, ConvState]:
    """Filters a sequence; arguments and result as in the reference."""
    B, T, _ = x.shape
    if T == 0:
        return torch.zeros_like(x), state
    before = state.window.shape[1]
    segment = None if reset is None else reset.long().cumsum(1)
    end = torch.full((B, 1), T, device=x.device)
    if valid is not None:
        order = torch.argsort(~valid, dim=1, stable=True)
        x = _pick(x, order)
        segment = None if segment is None else segment.gather(1, order)
        end = valid.sum(1, keepdim=True)
    seen = torch.cat((state.window, x), dim=1)
    if segment is None:
        y = _filter(seen, weight, bias)
    else:
        segment = functional.pad(segment, (before, 0))
        y = _filter_segments(seen, weight, bias, segment)
    kept = end + torch.arange(before, device=x.device)
    window = _pick(seen, kept)
    if reset is not None and segment is not None:
        ended = segment.gather(1, kept) < reset.sum(1, keepdim=True)
        window = window.masked_fill(ended.unsqueeze(-1), 0.0)
    if valid is not None:
        rank = (valid.long().cumsum(1) - 1).clamp(min=0)
        y = _pick(y, rank).masked_fill(~valid.unsqueeze(-1), 0.0)
    return y, ConvState(window)


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """Takes, of each row, the steps that are named."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _filter(seen: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    units = seen.transpose(1, 2)
    return functional.conv1d(units, weight.unsqueeze(1), bias, groups=len(weight)).transpose(1, 2)


def _filter_segments(seen: Tensor, weight: Tensor, bias: Tensor | None, segment: Tensor) -> Tensor:
    """Adds up the taps that lie in the segment of their output."""
    window = weight.shape[1]
    T = seen.shape[1] - window + 1
    here = segment[:, window - 1 :]
    y = seen.new_zeros(()) if bias is None else bias
    for tap in range(window):
        same = (segment[:, tap : tap + T] == here).unsqueeze(-1)
        y = y + seen[:, tap : tap + T].masked_fill(~same, 0.0) * weight[:, tap]
    return y
