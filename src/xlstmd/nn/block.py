"""Residual wiring: a layer with memory, and a feed-forward layer where the block has one."""

from torch import Tensor, nn

from xlstmd.nn.config import BlockConfig, MLSTMBlockConfig, SLSTMBlockConfig
from xlstmd.nn.feedforward import FeedForward
from xlstmd.nn.mlstm import MLSTMLayer
from xlstmd.nn.norm import WidthNorm
from xlstmd.nn.preup_mlstm import PreUpMLSTMLayer
from xlstmd.nn.slstm import SLSTMLayer
from xlstmd.nn.state import BlockState


class Block(nn.Module):
    """x + layer(norm x), then x + feed-forward(norm x)."""

    def __init__(self, config: BlockConfig, block_index: int, num_blocks: int) -> None:
        """Builds a block.

        Args:
          config: decides which one.
          block_index: its place in the backbone, from 0; some first weights depend on it.
          num_blocks: of the backbone.
        """
        super().__init__()
        self.layer: SLSTMLayer | MLSTMLayer | PreUpMLSTMLayer
        self.feedforward: FeedForward | None = None
        if isinstance(config, SLSTMBlockConfig):
            self.layer = SLSTMLayer(config, block_index, num_blocks)
        elif isinstance(config, MLSTMBlockConfig):
            self.layer = MLSTMLayer(config, num_blocks)
        else:
            self.layer = PreUpMLSTMLayer(config, num_blocks)
            self.norm = WidthNorm("layer", config.width, config.norm_eps)
            return
        self.norm = WidthNorm(config.norm, config.width, config.norm_eps)
        self.feedforward_norm = WidthNorm(config.norm, config.width, config.norm_eps)
        self.feedforward = FeedForward(config.feedforward, config.width, num_blocks)

    def init_state(self, batch_size: int) -> BlockState:
        """Gives the state before the first step."""
        return self.layer.init_state(batch_size)

    def forward(
        self,
        x: Tensor,
        state: BlockState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Tensor, BlockState]:
        """Runs [B, T, D]."""
        out, state = self.layer(self.norm(x), state, reset, valid)
        return self._finish(x + out), state

    def step(self, x: Tensor, state: BlockState) -> tuple[Tensor, BlockState]:
        """Runs one step [B, D]."""
        out, state = self.layer.step(self.norm(x), state)
        return self._finish(x + out), state

    def _finish(self, x: Tensor) -> Tensor:
        if self.feedforward is None:
            return x
        out: Tensor = x + self.feedforward(self.feedforward_norm(x))
        return out
