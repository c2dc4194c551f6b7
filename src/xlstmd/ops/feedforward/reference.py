"""The gated feed-forward layer as products and activations of torch."""

from typing import Literal

from torch import Tensor
from torch.nn import functional

from xlstmd.ops.products import Products, linear

Activation = Literal["silu", "gelu"]


def init() -> None:
    """Gives the state before the first step: none."""


def sequence(
    x: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    activation: Activation,
    products: Products = "float32",
) -> Tensor:
    """Gives down(activation(gate(x)) * up(x)).

    Args:
      x: [..., D].
      gate: [hidden, D].
      up: [hidden, D].
      down: [D, hidden].
      activation: of the gate.
      products: how they are computed.
    """
    bend = functional.silu if activation == "silu" else functional.gelu
    hidden = bend(linear(x, gate, products)) * linear(x, up, products)
    return linear(hidden, down, products)


step = sequence
