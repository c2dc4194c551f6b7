"""TiRex checkpoints, key for key.

Their layers and ours are the same function but for layout, and in one place for rounding: their
cell bounds the forget pre-activation at 15 from above. Beyond 15 the logarithm of the gate lies
within 3.1e-7 of zero, and the bound moves it by no more than that; it is left out.

Their names for two gates are exchanged: the map called `fgate` drives the input gate, and `igate`
the forget gate. Recurrent weights and biases are in the order input, forget, cell input, output.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models.foreign.torch_archive import read_archive
from xlstmd.models.tirex_config import TiRexConfig

Floats = NDArray[np.float32]

_PREFIX: Final = "block_stack."
_BLOCKS: Final = "blocks."
_GATES: Final = {
    "fgate": "input_gate",
    "igate": "forget_gate",
    "zgate": "cell_input",
    "ogate": "output_gate",
}
_NUM_GATES: Final = len(_GATES)
_MAPS: Final = {"hidden_layer": "up", "output_layer": "down", "residual_layer": "skip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TiRexCheckpoint:
    """A TiRex as it was read.

    Attributes:
      config: architecture.
      weights: by our parameter names, in our layout, float32.
      sha256: of the file.
    """

    config: TiRexConfig
    weights: Mapping[str, Floats]
    sha256: str


class _Entry(NamedTuple):
    """A tensor of theirs, and what it is of ours."""

    key: str
    shape: tuple[int, ...]
    name: str
    convert: Callable[[Floats], Floats]


def read_tirex(path: Path) -> TiRexCheckpoint:
    """Reads the file `model.ckpt` of a TiRex.

    Args:
      path: a torch archive with `hyper_parameters` and `state_dict`; keys may begin with
        `block_stack.`.

    Raises:
      CheckpointError: the file is absent, damaged or no TiRex; names the key or field.
    """
    content = read_archive(path)
    try:
        tensors = _tensors(_field(content, "state_dict", dict))
        config = _config(_field(content, "hyper_parameters", dict), tensors)
        weights = _weights(config, tensors)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (CheckpointError, ConfigError, OSError) as error:
        raise CheckpointError(f"{path.name}: {error}") from None
    return TiRexCheckpoint(config=config, weights=weights, sha256=digest)


def _tensors(state: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    tensors = {}
    for key, tensor in state.items():
        if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
            got = getattr(tensor, "dtype", type(tensor).__name__)
            raise CheckpointError(f"{key}: expected a tensor of floats, got {got}")
        tensors[str(key).removeprefix(_PREFIX)] = tensor
    if len(tensors) != len(state):
        raise CheckpointError(f"state_dict: expected each key once, with or without {_PREFIX}")
    return tensors


def _config(hyper: Mapping[str, Any], tensors: Mapping[str, Any]) -> TiRexConfig:
    model = _field(hyper, "model_config", dict)
    block = _field(model, "block_kwargs", dict)
    patch = _field(model, "input_patch_size", int)
    if _field(model, "output_patch_size", int) != patch:
        got = model["output_patch_size"]
        raise CheckpointError(f"output_patch_size: expected {patch} as at the input, got {got}")
    if block.get("all_slstm") is not True:
        got = block.get("all_slstm")
        raise CheckpointError(f"all_slstm: expected a backbone of sLSTM blocks alone, got {got}")
    levels = _field(model, "quantiles", list)
    if not all(isinstance(level, float) for level in levels):
        raise CheckpointError(f"quantiles: expected floats, got {levels}")
    num_blocks = _field(block, "num_blocks", int)
    found = {key.split(".")[1] for key in tensors if key.startswith(_BLOCKS)}
    if len(found) != num_blocks:
        raise CheckpointError(f"num_blocks: expected {num_blocks} among the keys, got {len(found)}")
    return TiRexConfig(
        patch_length=patch,
        context_length=_field(hyper, "train_ctx_len", int),
        quantile_levels=tuple(levels),
        hidden_width=_field(model, "input_ff_dim", int),
        width=_field(block, "embedding_dim", int),
        num_heads=_field(block, "num_heads", int),
        num_blocks=num_blocks,
    )


def _weights(config: TiRexConfig, tensors: dict[str, NDArray[Any]]) -> dict[str, Floats]:
    left = dict(tensors)
    weights = {}
    for entry in _entries(config):
        tensor = left.pop(entry.key, None)
        if tensor is None:
            raise CheckpointError(f"{entry.key}: expected shape {list(entry.shape)}, got no tensor")
        if tensor.shape != entry.shape:
            expected, got = list(entry.shape), list(tensor.shape)
            raise CheckpointError(f"{entry.key}: expected shape {expected}, got {got}")
        converted = entry.convert(tensor.astype(np.float32))
        weights[entry.name] = np.array(converted, order="C")
    if left:
        raise CheckpointError(f"{min(left)}: expected no tensor of that name")
    return weights


def _entries(config: TiRexConfig) -> Iterator[_Entry]:
    network = config.network
    width, hidden, outputs = config.width, network.hidden_width, network.num_outputs
    levels, patch = network.num_quantiles, config.patch_length

    def by_point(rows: Floats) -> Floats:
        """Brings output rows from level by level to point by point."""
        return rows.reshape(levels, patch, -1).swapaxes(0, 1).reshape(rows.shape)

    for theirs, ours, wide_in, wide_out, change in (
        ("input_patch_embedding", "embedding", network.num_features, width, _same),
        ("output_patch_embedding", "head", width, outputs, by_point),
    ):
        sizes = {"up": (hidden, wide_in), "down": (wide_out, hidden), "skip": (wide_out, wide_in)}
        for layer, name in _MAPS.items():
            convert = _same if name == "up" else change
            for part, shape in (("weight", sizes[name]), ("bias", sizes[name][:1])):
                yield _Entry(f"{theirs}.{layer}.{part}", shape, f"{ours}.{name}.{part}", convert)
    yield _Entry("out_norm.weight", (width,), "backbone.norm.weight", _same)
    for index in range(config.num_blocks):
        for entry in _block_entries(config):
            place = f"{_BLOCKS}{index}."
            yield entry._replace(key=place + entry.key, name=f"backbone.{place}{entry.name}")


def _block_entries(config: TiRexConfig) -> Iterator[_Entry]:
    width, heads = config.width, config.num_heads
    hidden = config.feedforward_width
    units = width // heads

    def by_gate(bias: Floats) -> Floats:
        """Brings (head, gate, unit) to gate, head, unit."""
        return bias.reshape(heads, _NUM_GATES, units).swapaxes(0, 1)

    def split_gates(kernel: Floats) -> Floats:
        """Splits the last axis (gate, unit) of head, unit in."""
        return kernel.reshape(heads, units, _NUM_GATES, units)

    def gain(weight: Floats) -> Floats:
        """Adds the one that a stored weight leaves out."""
        return (1.0 + weight).reshape(heads, units)

    for theirs, ours in _GATES.items():
        yield _Entry(
            f"slstm_layer.{theirs}.weight", (heads, units, units), f"layer.{ours}.weight", _turned
        )
    cell, gates = "slstm_layer.slstm_cell.", _NUM_GATES * units
    yield _Entry(f"{cell}_recurrent_kernel_", (heads, units, gates), "layer.recurrent", split_gates)
    yield _Entry(f"{cell}_bias_", (heads * gates,), "layer.bias", by_gate)
    yield _Entry("slstm_layer.group_norm.weight", (width,), "layer.head_norm.weight", gain)
    yield _Entry("norm_slstm.weight", (width,), "norm.weight", _same)
    yield _Entry("norm_ffn.weight", (width,), "feedforward_norm.weight", _same)
    yield _Entry("ffn.proj_up_gate.weight", (hidden, width), "feedforward.gate.weight", _same)
    yield _Entry("ffn.proj_up.weight", (hidden, width), "feedforward.up.weight", _same)
    yield _Entry("ffn.proj_down.weight", (width, hidden), "feedforward.down.weight", _same)


def _same(tensor: Floats) -> Floats:
    return tensor


def _turned(tensor: Floats) -> Floats:
    """Brings (head, out, in) to head, in, out."""
    return tensor.swapaxes(1, 2)


def _field(values: Any, name: str, kind: type) -> Any:
    if not isinstance(values, dict) or name not in values:
        raise CheckpointError(f"{name}: expected {kind.__name__}, got nothing")
    value = values[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise CheckpointError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
    return value
