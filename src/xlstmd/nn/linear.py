"""A linear map with its weights."""

from typing import Any

from torch import Tensor, nn

from xlstmd.ops import linear as linear_op
from xlstmd.ops.selection import Problem, select


class Linear(nn.Linear):
    """As `torch.nn.Linear`, computed by the form that was chosen when it was built."""

    def __init__(self, width_in: int, width_out: int, *, bias: bool = True, **more: Any) -> None:
        """Builds the map.

        Args:
          width_in: inputs.
          width_out: outputs.
          bias: whether it has one.
          more: device and dtype, as torch names them.
        """
        super().__init__(width_in, width_out, bias=bias, **more)
        self.operation = select("linear", linear_op.IMPLEMENTATIONS, Problem())

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., width_in] to [..., width_out]."""
        y: Tensor = self.operation.sequence(x, self.weight, self.bias)
        return y
