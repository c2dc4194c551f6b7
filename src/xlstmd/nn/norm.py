"""Norms over the model width and over the units of each head."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlstmd.nn.config import Norm


def make_norm(kind: Norm, width: int, eps: float) -> nn.Module:
    """Gives a layer norm without bias, or an RMS norm."""
    if kind == "rms":
        return nn.RMSNorm(width, eps=eps)
    return nn.LayerNorm(width, eps=eps, bias=False)


class HeadNorm(nn.Module):
    """Layer norm over the units of each head, with one weight per unit (a group norm per step)."""

    def __init__(self, num_heads: int, head_width: int, eps: float) -> None:
        """Starts with weights of one."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads, head_width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalizes [..., H, D] and gives [..., H * D]."""
        normed = functional.layer_norm(x, x.shape[-1:], eps=self.eps)
        return (normed * self.weight).flatten(-2)
