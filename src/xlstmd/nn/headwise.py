"""A linear map with diagonal blocks: groups of units that do not mix."""

import torch
from torch import Tensor, nn

from xlstmd.nn import initializers


class Headwise(nn.Module):
    """Maps each group of units by a matrix of its own."""

    def __init__(self, num_groups: int, group_in: int, group_out: int, width: int) -> None:
        """Builds the blocks.

        Args:
          num_groups: blocks on the diagonal.
          group_in: units into each.
          group_out: units out of each.
          width: of the model; sets the size of the first weights.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_groups, group_in, group_out))
        initializers.small(self.weight, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., groups * group_in] to [..., groups, group_out]."""
        grouped = x.unflatten(-1, self.weight.shape[:2])
        return torch.einsum("...gi,gio->...go", grouped, self.weight)
