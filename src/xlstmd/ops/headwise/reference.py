"""Linear maps with diagonal blocks as products of torch."""

from collections.abc import Sequence

import torch
from torch import Tensor


def init() -> None:
    """Gives the state before the first step: none."""


def sequence(inputs: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None) -> Tensor:
    """Maps each group of units by a matrix of its own, for several maps side by side.

    Args:
      inputs: of each map, [..., G * I]; maps may share one.
      weights: of each map, [G, I, O].
      bias: [maps, G, O], or None.

    Returns:
      [..., maps, G, O].
    """
    outs = [
        torch.einsum("...gi,gio->...go", x.unflatten(-1, weight.shape[:2]), weight)
        for x, weight in zip(inputs, weights, strict=True)
    ]
    out = torch.stack(outs, dim=-3)
    return out if bias is None else out + bias


step = sequence
