"""The gated feed-forward layer as products and activations of torch."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

Activation = Literal["silu", "gelu"]


def init() -> None:
    """Gives the state before the first step: none."""


def sequence(x: Tensor, gate: Tensor, up: Tensor, down: Tensor, activation: Activation) -> Tensor:
    """Gives down(activation(gate(x)) * up(x)).

    Args:
      x: [..., D].
      gate: [hidden, D].
      up: [hidden, D].
      down: [D, hidden].
      activation: of the gate.
    """
    bend = functional.silu if activation == "silu" else functional.gelu
    hidden = bend(functional.linear(x, gate)) * functional.linear(x, up)
    return functional.linear(hidden, down)


step = sequence
