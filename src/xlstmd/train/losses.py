"""Training losses."""

import torch
from torch import Tensor


def pinball(quantiles: Tensor, targets: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Gives the weighted pinball loss times two, averaged over the levels.

    Args:
      quantiles: [..., P, Q].
      targets: [..., P].
      weights: [..., P].
      levels: [Q].
    """
    above = targets.unsqueeze(-1) - quantiles
    loss = torch.maximum(levels * above, (levels - 1.0) * above).mean(-1)
    return 2.0 * (loss * weights).sum()
