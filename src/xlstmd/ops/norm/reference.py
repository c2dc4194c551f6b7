"""Norms as torch has them."""

from torch import Tensor
from torch.nn import functional


def init() -> None:
    """Gives the state before the first step: none."""


def sequence(x: Tensor, weight: Tensor, eps: float, *, centered: bool) -> Tensor:
    """Normalizes the last axis, and multiplies by weights.

    Args:
      x: [..., D], or [..., H, D] with weights for each head.
      weight: [D] or [H, D].
      eps: added to the mean square.
      centered: whether the mean is taken off: layer norm, else RMS norm.
    """
    units = x.shape[-1:]
    if centered:
        return functional.layer_norm(x, units, eps=eps) * weight
    return functional.rms_norm(x, units, eps=eps) * weight


step = sequence
