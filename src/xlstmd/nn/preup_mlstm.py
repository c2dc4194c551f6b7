"""The mLSTM layer of the xLSTM paper: up-projection, convolution, memory, skip, gate, down."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlstmd.nn import initializers
from xlstmd.nn.config import PreUpMLSTMBlockConfig
from xlstmd.nn.conv import CausalConv
from xlstmd.nn.headwise import Headwise
from xlstmd.nn.linear import Linear
from xlstmd.nn.mlstm import mlstm
from xlstmd.nn.norm import HeadNorm
from xlstmd.nn.state import BlockState
from xlstmd.ops import mlstm as mlstm_op
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.state import MLSTMState

GATE_BIAS_STD = 0.1


class PreUpMLSTMLayer(nn.Module):
    """Queries and keys see the convolved branch, values the plain one; the other branch gates.

    Source: xLSTM, arXiv:2405.04517, figure 11.
    """

    def __init__(self, config: PreUpMLSTMBlockConfig, num_blocks: int) -> None:
        """Builds the layer."""
        super().__init__()
        width, inner, heads = config.width, config.inner_width, config.num_heads
        block = config.projection_block
        self.config = config
        self.up = Linear(width, inner, bias=False)
        self.gate = Linear(width, inner, bias=False)
        self.conv = CausalConv(inner, config.conv_window)
        self.query = Headwise(inner // block, block, block, width)
        self.key = Headwise(inner // block, block, block, width)
        self.value = Headwise(inner // block, block, block, width)
        self.input_gate = Linear(3 * inner, heads)
        self.forget_gate = Linear(3 * inner, heads)
        self.head_norm = HeadNorm(heads, config.head_width, config.norm_eps)
        self.skip = nn.Parameter(torch.ones(inner))
        self.down = Linear(inner, width, bias=False)
        self.operation = select("mlstm", mlstm_op.IMPLEMENTATIONS, Problem())
        self.options = MLSTMOptions(eps=config.eps, stabilizer_start=config.stabilizer_start)
        initializers.small(self.up.weight, width)
        initializers.small(self.gate.weight, width)
        initializers.wang(self.down.weight, width, num_blocks)
        nn.init.zeros_(self.input_gate.weight)
        nn.init.zeros_(self.forget_gate.weight)
        nn.init.normal_(self.input_gate.bias, std=GATE_BIAS_STD)
        self.forget_gate.bias.data.copy_(initializers.forget_spread(heads))

    def init_state(self, batch_size: int) -> BlockState:
        """Gives the state before the first step."""
        config = self.config
        cell = MLSTMState.zeros(
            batch_size,
            config.num_heads,
            config.head_width,
            config.head_width,
            stabilizer_start=config.stabilizer_start,
            device=self.skip.device,
        )
        return BlockState(self.conv.init_state(batch_size), cell)

    def forward(
        self,
        x: Tensor,
        state: BlockState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, BlockState]:
        """Runs [B, T, D]."""
        assert state.conv is not None
        inner = self.up(x)
        mixed, conv = self.conv(inner, state.conv, reset, valid)
        mixed = functional.silu(mixed)
        *qkv, i, f = self._memory_inputs(inner, mixed)
        q, k, v = (part.transpose(1, 2) for part in qkv)
        i, f = i.transpose(1, 2), f.transpose(1, 2)
        h, cell = self.operation.sequence(q, k, v, i, f, mlstm(state), self.options, reset, valid)
        return self._read(h.transpose(1, 2), mixed, x), BlockState(conv, cell)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Runs one step [B, D]."""
        assert state.conv is not None
        inner = self.up(x)
        mixed, conv = self.conv.step(inner, state.conv)
        mixed = functional.silu(mixed)
        q, k, v, i, f = self._memory_inputs(inner, mixed)
        h, cell = self.operation.step(q, k, v, i, f, mlstm(state), self.options)
        return self._read(h, mixed, x), BlockState(conv, cell)

    def _memory_inputs(self, inner: Tensor, mixed: Tensor) -> tuple[Tensor, ...]:
        heads = self.config.num_heads
        flat = [
            self.query(mixed).flatten(-2),
            self.key(mixed).flatten(-2),
            self.value(inner).flatten(-2),
        ]
        joined = torch.cat(flat, dim=-1)
        q, k, v = (part.unflatten(-1, (heads, -1)) for part in flat)
        return q, k, v, self.input_gate(joined), self.forget_gate(joined)

    def _read(self, h: Tensor, mixed: Tensor, x: Tensor) -> Tensor:
        gated = (self.head_norm(h) + self.skip * mixed) * functional.silu(self.gate(x))
        out: Tensor = self.down(gated)
        return out
