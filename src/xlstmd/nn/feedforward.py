"""The gated feed-forward layer."""

from torch import Tensor, nn
from torch.nn import functional

from xlstmd.nn import initializers
from xlstmd.nn.config import FeedForwardConfig
from xlstmd.nn.linear import Linear


class FeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)); no state."""

    def __init__(self, config: FeedForwardConfig, width: int, num_blocks: int) -> None:
        """Builds the three maps, without biases."""
        super().__init__()
        hidden = config.hidden_width(width)
        self.gate = Linear(width, hidden, bias=False)
        self.up = Linear(width, hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)
        self._activation = functional.silu if config.activation == "silu" else functional.gelu
        initializers.small(self.gate.weight, width)
        initializers.small(self.up.weight, width)
        initializers.wang(self.down.weight, width, num_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., D] to [..., D]."""
        out: Tensor = self.down(self._activation(self.gate(x)) * self.up(x))
        return out
