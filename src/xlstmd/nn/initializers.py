"""Published initializations (xLSTM, arXiv:2405.04517, and xLSTM 7B, arXiv:2503.13427)."""

import math

import torch
from torch import Tensor
from torch.nn import init


def small(weight: Tensor, width: int) -> None:
    """Fills a map out of the residual stream: N(0, 2 / (5 width))."""
    init.normal_(weight, std=math.sqrt(2.0 / (5.0 * width)))


def wang(weight: Tensor, width: int, num_blocks: int) -> None:
    """Fills a map back into the residual stream: N(0, (2 / (blocks sqrt(width)))^2)."""
    init.normal_(weight, std=2.0 / (num_blocks * math.sqrt(width)))


def forget_spread(num_heads: int) -> Tensor:
    """Gives forget-gate biases of an mLSTM: 3 to 6, evenly over the heads."""
    return torch.linspace(3.0, 6.0, num_heads)


def forget_powerlaw(num_heads: int, head_width: int, block_index: int, num_blocks: int) -> Tensor:
    """Gives forget-gate biases of an sLSTM [H, D]: from 5 down to -7 within each head.

    Later blocks fall more slowly, so that they remember for longer.
    """
    share = torch.arange(head_width) / max(head_width - 1, 1)
    power = 0.3 + 1.3 * block_index / max(num_blocks - 1, 1)
    return (5.0 - 12.0 * share**power).expand(num_heads, head_width).clone()
