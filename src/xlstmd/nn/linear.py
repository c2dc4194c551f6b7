"""A linear map with its weights."""

from typing import Any

from torch import Tensor, nn

from xlstmd.errors import ConfigError
from xlstmd.ops import linear as linear_op
from xlstmd.ops.products import PRODUCTS, Products
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
        self.products: Products = "float32"
        self.operation = select("linear", linear_op.IMPLEMENTATIONS, Problem())

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., width_in] to [..., width_out]."""
        y: Tensor = self.operation.sequence(x, self.weight, self.bias, self.products)
        return y


def set_products(model: nn.Module, products: Products) -> None:
    """Says how the products of all linear maps and feed-forward layers are computed from now on.

    Args:
      model: changed in place.
      products: `bfloat16` rounds both factors, forward and backward, and sums in float32.
        Recurrences and their gates' maps, norms and states keep their precision.

    Raises:
      ConfigError: no such way.
    """
    if products not in PRODUCTS:
        raise ConfigError(f"products: expected one of {', '.join(PRODUCTS)}, got {products}")
    for module in model.modules():
        if isinstance(getattr(module, "products", None), str):
            module.products = products  # type: ignore[assignment]
