"""Causal depthwise convolution, one step at a time: the definition.

With x the last W inputs of one unit, its own step included, oldest first:

    y_t = bias + sum_j weight[j] x_{t-W+1+j}

The state holds the W-1 inputs before the step. A reset empties it; padding never enters it.
"""

import torch
from torch import Tensor

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
    """Filters one step.

    Args:
      x: input of this step.
      weight: per unit, the newest step last.
      bias: added to every output; None for none.
      state: the inputs before the step; not modified.
      valid: [B, 1], False for rows whose step is padding.

    Returns:
      The output, zero for padded rows, and the state after the step.
    """
    seen = torch.cat((state.window, x.unsqueeze(1)), dim=1)  # [B, W, D]
    y = (seen * weight.t()).sum(1)
    if bias is not None:
        y = y + bias
    window = seen[:, 1:]
    if valid is not None:
        y = y.masked_fill(~valid, 0.0)
        window = torch.where(valid.unsqueeze(-1), window, state.window)
    return y, ConvState(window)


def sequence(
    x: Hidden,
    weight: ConvWeight,
    bias: ConvBias | None,
    state: ConvState,
    reset: StepMask | None = None,
    valid: StepMask | None = None,
) -> tuple[Hidden, ConvState]:
    """Filters a sequence, one step at a time.

    Args:
      x: inputs.
      weight: per unit, the newest step last.
      bias: added to every output; None for none.
      state: the inputs before the first step; not modified.
      reset: True where the state is emptied before the step.
      valid: False where a step is padding: state kept, output zero.

    Returns:
      Outputs, and the state after the last step.
    """
    outputs = []
    for t in range(x.shape[1]):
        if reset is not None:
            state = ConvState(state.window.masked_fill(reset[:, t].view(-1, 1, 1), 0.0))
        now = None if valid is None else valid[:, t : t + 1]
        y, state = step(x[:, t], weight, bias, state, now)
        outputs.append(y)
    return (torch.stack(outputs, dim=1) if outputs else torch.zeros_like(x)), state
