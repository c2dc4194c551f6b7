"""The gated feed-forward layer."""

from torch import Tensor, nn

from xlstmd.nn import initializers
from xlstmd.nn.config import FeedForwardConfig
from xlstmd.nn.linear import Linear
from xlstmd.ops import feedforward as feedforward_op
from xlstmd.ops.products import Products
from xlstmd.ops.selection import Problem, select


class FeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)); no state."""

    def __init__(self, config: FeedForwardConfig, width: int, num_blocks: int) -> None:
        """Builds the three maps, without biases."""
        super().__init__()
        hidden = config.hidden_width(width)
        self.gate = Linear(width, hidden, bias=False)
        self.up = Linear(width, hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)
        self.activation = config.activation
        self.products: Products = "float32"
        self.operation = select("feedforward", feedforward_op.IMPLEMENTATIONS, Problem())
        initializers.small(self.gate.weight, width)
        initializers.small(self.up.weight, width)
        initializers.wang(self.down.weight, width, num_blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., D] to [..., D]."""
        weights = (self.gate.weight, self.up.weight, self.down.weight)
        out: Tensor = self.operation.sequence(x, *weights, self.activation, self.products)
        return out
