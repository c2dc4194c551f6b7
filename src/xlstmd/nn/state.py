"""States of blocks and backbones: the states of their operations, put together."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xlstmd.ops.state import ConvState, MLSTMState, SLSTMState
from xlstmd.shapes import FlatState


class BlockState(NamedTuple):
    """Memory of one block; `conv` is None where it has no convolution."""

    conv: ConvState | None
    cell: SLSTMState | MLSTMState

    def tensors(self) -> Iterator[Tensor]:
        """Gives all tensors in their fixed order."""
        if self.conv is not None:
            yield from self.conv
        yield from self.cell

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "BlockState":
        """Gives a state whose tensors are changed ones."""
        conv = None if self.conv is None else ConvState(*map(change, self.conv))
        return BlockState(conv, type(self.cell)(*map(change, self.cell)))


class BackboneState(NamedTuple):
    """Memory of a backbone, block by block. The first axis of every tensor is the row."""

    blocks: tuple[BlockState, ...]

    def tensors(self) -> Iterator[Tensor]:
        """Gives all tensors in their fixed order."""
        for block in self.blocks:
            yield from block.tensors()

    def mapped(self, change: Callable[[Tensor], Tensor]) -> "BackboneState":
        """Gives a state whose tensors are changed ones."""
        return BackboneState(tuple(block.mapped(change) for block in self.blocks))

    def rows(self, index: Tensor | Sequence[int] | slice) -> "BackboneState":
        """Gives the states of some rows."""
        return self.mapped(lambda tensor: tensor[index])

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    def to_flat(self) -> FlatState:
        """Gives every row as one line of numbers; `from_flat` is the way back."""
        return torch.cat([tensor.flatten(1) for tensor in self.tensors()], dim=1)

    def from_flat(self, flat: FlatState) -> "BackboneState":
        """Reads lines of numbers into the shapes of this state; rows may be other ones."""
        sizes = [tensor[0].numel() for tensor in self.tensors()]
        parts = iter(flat.split(sizes, dim=1))
        return self.mapped(lambda tensor: next(parts).reshape(len(flat), *tensor.shape[1:]))

    @classmethod
    def stacked(cls, states: Sequence["BackboneState"]) -> "BackboneState":
        """Puts the rows of several states one under the other."""
        columns = zip(*(state.tensors() for state in states), strict=True)
        joined = iter([torch.cat(column) for column in columns])
        return states[0].mapped(lambda _: next(joined))
