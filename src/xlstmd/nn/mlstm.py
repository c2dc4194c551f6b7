"""The mLSTM layer of the large models: dense maps, matrix memory, norm per head, output gate."""

import torch
from torch import Tensor, nn

from xlstmd.nn import initializers
from xlstmd.nn.config import MLSTMBlockConfig
from xlstmd.nn.linear import Linear
from xlstmd.nn.norm import HeadNorm
from xlstmd.nn.state import BlockState
from xlstmd.ops import mlstm as mlstm_op
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.state import MLSTMState

INPUT_GATE_BIAS = -10.0


class MLSTMLayer(nn.Module):
    """No convolution; the output gate comes after the norm.

    Source: xLSTM 7B, arXiv:2503.13427, section 3.
    """

    def __init__(self, config: MLSTMBlockConfig, num_blocks: int) -> None:
        """Builds the layer."""
        super().__init__()
        width, heads = config.width, config.num_heads
        self.config = config
        self.query = Linear(width, heads * config.qk_width, bias=False)
        self.key = Linear(width, heads * config.qk_width, bias=False)
        self.value = Linear(width, width, bias=False)
        self.output_gate = Linear(width, width, bias=False)
        self.input_gate = Linear(width, heads)
        self.forget_gate = Linear(width, heads)
        self.head_norm = HeadNorm(heads, config.value_width, config.norm_eps)
        self.out = Linear(width, width, bias=False)
        self.operation = select("mlstm", mlstm_op.IMPLEMENTATIONS, Problem())
        self.options = MLSTMOptions(
            eps=config.eps,
            stabilizer_start=config.stabilizer_start,
            gate_soft_cap=config.gate_soft_cap,
        )
        for layer in (self.query, self.key, self.value):
            initializers.small(layer.weight, width)
        initializers.wang(self.out.weight, width, num_blocks)
        for layer in (self.output_gate, self.input_gate, self.forget_gate):
            nn.init.zeros_(layer.weight)
        nn.init.constant_(self.input_gate.bias, INPUT_GATE_BIAS)
        self.forget_gate.bias.data.copy_(initializers.forget_spread(heads))

    def init_state(self, batch_size: int) -> BlockState:
        """Gives the state before the first step."""
        config = self.config
        cell = MLSTMState.zeros(
            batch_size,
            config.num_heads,
            config.qk_width,
            config.value_width,
            stabilizer_start=config.stabilizer_start,
            device=self.out.weight.device,
        )
        return BlockState(None, cell)

    def forward(
        self,
        x: Tensor,
        state: BlockState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, BlockState]:
        """Runs [B, T, D]."""
        q, k, v = (part.transpose(1, 2) for part in self._qkv(x))
        i, f = self.input_gate(x).transpose(1, 2), self.forget_gate(x).transpose(1, 2)
        h, cell = self.operation.sequence(q, k, v, i, f, mlstm(state), self.options, reset, valid)
        return self._read(h.transpose(1, 2), x), BlockState(None, cell)

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Runs one step [B, D]."""
        q, k, v = self._qkv(x)
        gates = self.input_gate(x), self.forget_gate(x)
        h, cell = self.operation.step(q, k, v, *gates, mlstm(state), self.options)
        return self._read(h, x), BlockState(None, cell)

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = self.config.num_heads
        maps = (self.query, self.key, self.value)
        q, k, v = (layer(x).unflatten(-1, (heads, -1)) for layer in maps)
        return q, k, v

    def _read(self, h: Tensor, x: Tensor) -> Tensor:
        out: Tensor = self.out(torch.sigmoid(self.output_gate(x)) * self.head_norm(h))
        return out


def mlstm(state: BlockState) -> MLSTMState:
    """Gives the matrix memory of a block."""
    assert isinstance(state.cell, MLSTMState)
    return state.cell
