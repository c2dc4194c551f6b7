"""Norms over the model width and over the units of each head."""

import torch
from torch import Tensor, nn

from xlstmd.nn.config import Norm
from xlstmd.ops import norm as norm_op
from xlstmd.ops.selection import Problem, select


class WidthNorm(nn.Module):
    """Layer norm without bias, or RMS norm, over the model width."""

    def __init__(self, kind: Norm, width: int, eps: float) -> None:
        """Starts with weights of one."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps
        self.centered = kind == "layer"
        self.operation = select("norm", norm_op.IMPLEMENTATIONS, Problem())

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes [..., D]."""
        y: Tensor = self.operation.sequence(x, self.weight, self.eps, centered=self.centered)
        return y


class HeadNorm(nn.Module):
    """Layer norm over the units of each head, with one weight per unit (a group norm per step)."""

    def __init__(self, num_heads: int, head_width: int, eps: float) -> None:
        """Starts with weights of one."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads, head_width))
        self.eps = eps
        self.operation = select("norm", norm_op.IMPLEMENTATIONS, Problem())

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes [..., H, D] and gives [..., H * D]."""
        y: Tensor = self.operation.sequence(x, self.weight, self.eps, centered=True)
        return y.flatten(-2)
