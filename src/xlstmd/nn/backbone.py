"""The backbone: a stack of blocks with one state."""

from torch import Tensor, nn

from xlstmd.nn.block import Block
from xlstmd.nn.config import BackboneConfig
from xlstmd.nn.norm import WidthNorm
from xlstmd.nn.state import BackboneState
from xlstmd.shapes import Hidden, HiddenStep


class Backbone(nn.Module):
    """Blocks one after the other, and a norm after the last."""

    def __init__(self, config: BackboneConfig) -> None:
        """Builds all blocks with their published initializations."""
        super().__init__()
        self.config = config
        count = len(config.blocks)
        self.blocks = nn.ModuleList(
            Block(block, index, count) for index, block in enumerate(config.blocks)
        )
        self.norm = WidthNorm(config.norm, config.width, config.norm_eps)

    def init_state(self, batch_size: int) -> BackboneState:
        """Gives the state before the first step."""
        return BackboneState(tuple(block.init_state(batch_size) for block in self._blocks()))

    def forward(
        self,
        x: Hidden,
        state: BackboneState,
        reset: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> tuple[Hidden, BackboneState]:
        """Runs a sequence.

        Args:
          x: inputs of every step.
          state: before the first step; not modified.
          reset: [B, T], True where the memory is emptied before the step.
          valid: [B, T], False where a step is padding; its output means nothing.
        """
        states = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x, after = block(x, before, reset, valid)
            states.append(after)
        return self.norm(x), BackboneState(tuple(states))

    def step(self, x: HiddenStep, state: BackboneState) -> tuple[HiddenStep, BackboneState]:
        """Runs one step; `state` is not modified."""
        states = []
        for block, before in zip(self._blocks(), state.blocks, strict=True):
            x, after = block.step(x, before)
            states.append(after)
        return self.norm(x), BackboneState(tuple(states))

    def _blocks(self) -> list[Block]:
        return list(self.blocks)  # type: ignore[arg-type]
