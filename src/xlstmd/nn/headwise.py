"""A linear map with diagonal blocks: groups of units that do not mix."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xlstmd.nn import initializers
from xlstmd.ops import headwise as headwise_op
from xlstmd.ops.selection import Problem, select


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
        self.operation = select("headwise", headwise_op.IMPLEMENTATIONS, Problem())

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., groups * group_in] to [..., groups, group_out]."""
        return side_by_side([self], [x]).squeeze(-3)


def side_by_side(
    maps: Sequence[Headwise], inputs: Sequence[Tensor], bias: Tensor | None = None
) -> Tensor:
    """Runs maps of the same size together.

    Args:
      maps: what to run.
      inputs: of each map, [..., groups * group_in].
      bias: [maps, groups, group_out], or None.

    Returns:
      [..., maps, groups, group_out].
    """
    y: Tensor = maps[0].operation.sequence(inputs, [each.weight for each in maps], bias)
    return y
