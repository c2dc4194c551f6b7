"""Names and shapes of a backbone's parameters, for whoever builds one without torch."""

from collections.abc import Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from xlstmd.errors import CheckpointError
from xlstmd.nn.config import BackboneConfig, BlockConfig, MLSTMBlockConfig, SLSTMBlockConfig

Shapes = dict[str, tuple[int, ...]]


def check_weights(weights: Mapping[str, NDArray[Any]], shapes: Shapes) -> None:
    """Refuses weights that are not exactly those of a module.

    Raises:
      CheckpointError: names the first one that is missing, left over or of another shape.
    """
    for name, shape in shapes.items():
        if name not in weights:
            raise CheckpointError(f"weights do not fit: {name} is missing")
        if weights[name].shape != shape:
            raise CheckpointError(
                f"weights do not fit: expected {name} of shape {list(shape)}, "
                f"got {list(weights[name].shape)}"
            )
    left = sorted(set(weights) - set(shapes))
    if left:
        raise CheckpointError(f"weights do not fit: {left[0]} is not part of this model")


def parameter_shapes(config: BackboneConfig) -> Shapes:
    """Gives every parameter of a backbone with its shape, by the names of `Backbone`."""
    shapes: Shapes = {"norm.weight": (config.width,)}
    for index, block in enumerate(config.blocks):
        for name, shape in _block_shapes(block):
            shapes[f"blocks.{index}.{name}"] = shape
    return shapes


def _block_shapes(block: BlockConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    width, heads = block.width, block.num_heads
    yield "norm.weight", (width,)
    if isinstance(block, SLSTMBlockConfig):
        units = block.head_width
        if block.conv_window:
            yield from _conv_shapes(width, block.conv_window)
        for name in ("input_gate", "forget_gate", "cell_input", "output_gate"):
            yield f"layer.{name}.weight", (heads, units, units)
        yield "layer.recurrent", (heads, units, 4, units)
        yield "layer.bias", (4, heads, units)
        yield "layer.head_norm.weight", (heads, units)
    elif isinstance(block, MLSTMBlockConfig):
        for name in ("query", "key"):
            yield f"layer.{name}.weight", (heads * block.qk_width, width)
        for name in ("value", "output_gate", "out"):
            yield f"layer.{name}.weight", (width, width)
        yield from _gate_shapes(heads, width)
        yield "layer.head_norm.weight", (heads, block.value_width)
    else:
        inner, group = block.inner_width, block.projection_block
        for name in ("up", "gate"):
            yield f"layer.{name}.weight", (inner, width)
        yield from _conv_shapes(inner, block.conv_window)
        for name in ("query", "key", "value"):
            yield f"layer.{name}.weight", (inner // group, group, group)
        yield from _gate_shapes(heads, 3 * inner)
        yield "layer.head_norm.weight", (heads, block.head_width)
        yield "layer.skip", (inner,)
        yield "layer.down.weight", (width, inner)
        return
    hidden = block.feedforward.hidden_width(width)
    yield "feedforward_norm.weight", (width,)
    yield "feedforward.gate.weight", (hidden, width)
    yield "feedforward.up.weight", (hidden, width)
    yield "feedforward.down.weight", (width, hidden)


def _conv_shapes(width: int, window: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "layer.conv.weight", (width, window)
    yield "layer.conv.bias", (width,)


def _gate_shapes(heads: int, inputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in ("input_gate", "forget_gate"):
        yield f"layer.{name}.weight", (heads, inputs)
        yield f"layer.{name}.bias", (heads,)
