"""The sLSTM layer: gate maps, recurrence, norm per head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlstmd.nn import initializers
from xlstmd.nn.config import SLSTMBlockConfig
from xlstmd.nn.conv import CausalConv
from xlstmd.nn.headwise import Headwise, side_by_side
from xlstmd.nn.norm import HeadNorm
from xlstmd.nn.state import BlockState
from xlstmd.ops import slstm as slstm_op
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import SLSTMState

NUM_GATES = 4


class SLSTMLayer(nn.Module):
    """Input and forget gates see the convolved input, cell input and output gate the plain one.

    Source: xLSTM, arXiv:2405.04517, figure 10.
    """

    def __init__(self, config: SLSTMBlockConfig, block_index: int, num_blocks: int) -> None:
        """Builds the layer; the recurrent weights start at zero."""
        super().__init__()
        heads, units = config.num_heads, config.head_width
        self.config = config
        self.conv = CausalConv(config.width, config.conv_window) if config.conv_window else None
        self.input_gate = Headwise(heads, units, units, config.width)
        self.forget_gate = Headwise(heads, units, units, config.width)
        self.cell_input = Headwise(heads, units, units, config.width)
        self.output_gate = Headwise(heads, units, units, config.width)
        self.recurrent = nn.Parameter(torch.zeros(heads, units, NUM_GATES, units))
        bias = torch.zeros(NUM_GATES, heads, units)
        bias[1] = initializers.forget_powerlaw(heads, units, block_index, num_blocks)
        self.bias = nn.Parameter(bias)
        self.head_norm = HeadNorm(heads, units, config.head_eps)
        self.operation = select("slstm", slstm_op.IMPLEMENTATIONS, Problem())
        self.options = SLSTMOptions(
            forget_gate=config.forget_gate, gate_soft_cap=config.gate_soft_cap
        )

    def init_state(self, batch_size: int) -> BlockState:
        """Gives the state before the first step."""
        config, device = self.config, self.bias.device
        cell = SLSTMState.zeros(batch_size, config.num_heads, config.head_width, device=device)
        return BlockState(None if self.conv is None else self.conv.init_state(batch_size), cell)

    def forward(
        self,
        x: Tensor,
        state: BlockState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, BlockState]:
        """Runs [B, T, D]."""
        gated, conv = x, None
        if self.conv is not None and state.conv is not None:
            gated, conv = self.conv(x, state.conv, reset, valid)
            gated = functional.silu(gated)
        out, cell = self.operation.sequence(
            self._preacts(x, gated), self.recurrent, _slstm(state), self.options, reset, valid
        )
        return self.head_norm(out), BlockState(conv, cell)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Runs one step [B, D]."""
        gated, conv = x, None
        if self.conv is not None and state.conv is not None:
            gated, conv = self.conv.step(x, state.conv)
            gated = functional.silu(gated)
        out, cell = self.operation.step(
            self._preacts(x, gated), self.recurrent, _slstm(state), self.options
        )
        return self.head_norm(out), BlockState(conv, cell)

    def _preacts(self, x: Tensor, gated: Tensor) -> Tensor:
        """Gives the gates' pre-activations [..., G, H, D] without the recurrent part."""
        maps = (self.input_gate, self.forget_gate, self.cell_input, self.output_gate)
        return side_by_side(maps, (gated, gated, x, x), self.bias)


def _slstm(state: BlockState) -> SLSTMState:
    assert isinstance(state.cell, SLSTMState)
    return state.cell
