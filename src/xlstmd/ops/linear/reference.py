"""The linear map as torch has it."""

from torch import Tensor

from xlstmd.ops.products import Products, linear


def init() -> None:
    """Gives the state before the first step: none."""


def sequence(
    x: Tensor, weight: Tensor, bias: Tensor | None, products: Products = "float32"
) -> Tensor:
    """Maps [..., inputs] to [..., outputs].

    Args:
      x: any number of rows.
      weight: [outputs, inputs].
      bias: [outputs], or None.
      products: how they are computed.
    """
    y = linear(x, weight, products)
    return y if bias is None else y + bias


step = sequence
