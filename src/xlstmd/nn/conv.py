"""The causal depthwise convolution with its weights."""

import math

import torch
from torch import Tensor, nn

from xlstmd.ops import conv as conv_op
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.state import ConvState


class CausalConv(nn.Module):
    """Mixes the last steps of each unit; no unit sees another."""

    def __init__(self, width: int, window: int) -> None:
        """Builds the filter.

        Args:
          width: units.
          window: steps that an output sees, its own included.
        """
        super().__init__()
        self.operation = select("conv", conv_op.IMPLEMENTATIONS, Problem())
        bound = 1.0 / math.sqrt(window)
        self.weight = nn.Parameter(torch.empty(width, window).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(width).uniform_(-bound, bound))

    def init_state(self, batch_size: int) -> ConvState:
        """Gives the state before the first step."""
        width, window = self.weight.shape
        return ConvState.zeros(batch_size, window, width, device=self.weight.device)

    def forward(
        self,
        x: Tensor,
        state: ConvState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, ConvState]:
        """Filters [B, T, D]."""
        y, state = self.operation.sequence(x, self.weight, self.bias, state, reset, valid)
        return y, state

    def step(self, x: Tensor, state: ConvState) -> tuple[Tensor, ConvState]:
        """Filters one step [B, D]."""
        y, state = self.operation.step(x, self.weight, self.bias, state)
        return y, state
