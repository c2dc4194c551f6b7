"""Writes the golden numbers of the native C++ driver, from the reference forms in float64.

Results are stored as float32. Run it from the repository's root:

    python -m tests.golden.native.make_native_golden
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from xlstmd.nn import native_backbone
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import (
    BackboneConfig,
    FeedForwardConfig,
    MLSTMBlockConfig,
    PreUpMLSTMBlockConfig,
    SLSTMBlockConfig,
)
from xlstmd.nn.state import BackboneState
from xlstmd.ops.conv import reference as conv
from xlstmd.ops.mlstm import reference as mlstm
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.native_signatures import BackboneBlock
from xlstmd.ops.slstm import reference as slstm
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import ConvState, MLSTMState, SLSTMState

MAGIC = b"xlstmd01"
NAME_BYTES = 48
KINDS = {"float32": b"f", "int64": b"i", "uint8": b"b"}

# In the order of `xlstmd_function`.
FUNCTIONS = {
    "exp": torch.exp,
    "log": torch.log,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "logsigmoid": torch.nn.functional.logsigmoid,
    "silu": lambda x: x * torch.sigmoid(x),
    "gelu": lambda x: 0.5 * x * torch.special.erfc(-x / 2**0.5),
}

# Products of a number with a function's tail, which lose some digits far out, and have no value at
# minus infinity.
PRODUCTS = ("silu", "gelu")


class Draw:
    """Random numbers that float32 can hold, as float64 tensors."""

    def __init__(self, seed):
        """Starts from a seed."""
        self._rng = np.random.default_rng(seed)

    def normal(self, *shape, scale=1.0, shift=0.0):
        """Gives normally distributed numbers."""
        numbers = self._rng.normal(shift, scale, shape).astype(np.float32)
        return torch.from_numpy(numbers).double()

    def mask(self, *shape, chance):
        """Gives a mask that is True with the given chance."""
        return torch.from_numpy(self._rng.random(shape) < chance)


def stored(value):
    """Gives a value as the file holds it: float32, int64 or bytes."""
    if isinstance(value, bool | int):
        return np.asarray(value, dtype=np.int64)
    array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    # What is too large for float32 is infinite there.
    with np.errstate(over="ignore"):
        return array if array.dtype in (np.int64, np.uint8) else array.astype(np.float32)


def write(file, problems):
    """Writes problems, each a name with its arrays by name; None is left out."""
    parts = [MAGIC]
    for problem, arrays in problems.items():
        for name, value in arrays.items():
            if value is None:
                continue
            array = stored(value)
            parts.append(f"{problem}/{name}".encode().ljust(NAME_BYTES, b"\0"))
            parts.append(KINDS[array.dtype.name] + bytes([array.ndim]))
            parts.append(np.asarray(array.shape, dtype="<i8").tobytes())
            parts.append(array.tobytes())
    file.write_bytes(b"".join(parts))


def map_problems():
    """Gives every function over the whole range of float32."""
    sizes = np.concatenate(
        [np.logspace(-44.5, 38.5, 90), np.linspace(0.05, 120.0, 110), [0.0, 1e4]]
    )
    special = [np.inf, 1.0, 0.5, 2.0, 88.7, 88.8, 103.9, 104.1, 1.1754942e-38]
    x = np.concatenate([sizes, special])
    x = np.concatenate([x, -x, [np.nan]]).astype(np.float32)
    problems = {}
    for number, (name, function) in enumerate(FUNCTIONS.items()):
        own = x[x != -np.inf] if name in PRODUCTS else x
        y = function(torch.from_numpy(own).double())
        tolerance = 1e-5 if name in PRODUCTS else 1e-6
        problems[name] = {"function": number, "tolerance": tolerance, "x": own, "y": y}
    return problems


def matrix_problems():
    """Gives products with packed weights, of sizes that fill no panel."""
    draw = Draw(1)
    problems = {}
    for name, (rows, inputs, outputs) in {
        "uneven": (9, 37, 36),
        "narrow": (23, 5, 3),
        "wide": (1, 130, 20),
        "whole": (6, 32, 64),
        "one": (3, 1, 1),
    }.items():
        x, weights = draw.normal(rows, inputs), draw.normal(outputs, inputs)
        bias = draw.normal(outputs)
        problems[name] = {"weights": weights, "bias": bias, "x": x, "y": x @ weights.T + bias}
    return problems


def gemm_problems():
    """Gives products of matrices that are used once."""
    draw = Draw(2)
    problems = {}
    for name, (m, k, n) in {
        "uneven": (13, 37, 21),
        "row": (1, 70, 35),
        "column": (17, 5, 1),
        "inner": (5, 1, 66),
    }.items():
        a, b = draw.normal(m, k), draw.normal(k, n)
        problems[name] = {"a": a, "b": b, "c": a @ b}
    return problems


def two_layer_map_problems():
    """Gives down(activation(up(x))) + skip(x)."""
    draw = Draw(3)
    problems = {}
    for number, (name, act) in enumerate(
        {"silu": torch.nn.functional.silu, "relu": torch.relu}.items()
    ):
        rows, inputs, hidden, outputs = 7, 19, 33, 10
        parts = {
            "up": draw.normal(hidden, inputs, scale=0.3),
            "up_bias": draw.normal(hidden),
            "down": draw.normal(outputs, hidden, scale=0.3),
            "down_bias": draw.normal(outputs),
            "skip": draw.normal(outputs, inputs, scale=0.3),
            "skip_bias": None if name == "silu" else draw.normal(outputs),
        }
        x = draw.normal(rows, inputs)
        between = act(x @ parts["up"].T + parts["up_bias"])
        y = between @ parts["down"].T + parts["down_bias"] + x @ parts["skip"].T
        y = y if parts["skip_bias"] is None else y + parts["skip_bias"]
        problems[name] = {"activation": number, **parts, "x": x, "y": y}
    return problems


def masks(draw, rows, steps, kind):
    """Gives masks for resets and for padding; the last row is padding alone."""
    if kind == "plain":
        return None, None
    reset = draw.mask(rows, steps, chance=0.2)
    valid = draw.mask(rows, steps, chance=0.7)
    valid[-1] = False
    return reset, valid


def slopes(draw, results, leaves):
    """Gives weights of a sum of all results, and its gradient by every leaf."""
    weights = [draw.normal(*result.shape) for result in results]
    total = sum((w * r).sum() for w, r in zip(weights, results, strict=True))
    return weights, torch.autograd.grad(total, leaves)


def slstm_problems():
    """Gives sequences forward and backward."""
    draw = Draw(4)
    problems = {}
    for name, shape, options, kind in (
        ("sigmoid", (3, 7, 2, 5), SLSTMOptions(), "masked"),
        ("exp", (2, 4, 1, 17), SLSTMOptions(forget_gate="exp"), "plain"),
        ("capped", (7, 3, 3, 4), SLSTMOptions(gate_soft_cap=1.5), "masked"),
    ):
        rows, steps, heads, units = shape
        reset, valid = masks(draw, rows, steps, kind)
        preacts = draw.normal(rows, steps, 4, heads, units, scale=1.5)
        recurrent = draw.normal(heads, units, 4, units, scale=0.4)
        start = [draw.normal(rows, heads, units) for _ in range(4)]
        start[2] = (1.0 + start[2].abs()).float().double()
        leaves = [x.requires_grad_() for x in (preacts, recurrent, *start)]
        out, end = slstm.sequence(
            leaves[0], leaves[1], SLSTMState(*leaves[2:]), options, reset, valid
        )
        weights, found = slopes(draw, (out, *end), leaves)
        problem = {"exp_forget": options.forget_gate == "exp", "cap": options.gate_soft_cap or 0.0}
        problem |= {"reset": reset, "valid": valid, "preacts": preacts, "recurrent": recurrent}
        problem |= {"out": out, "d_out": weights[0]}
        problem |= {"d_preacts": found[0], "d_recurrent": found[1]}
        for i, part in enumerate("hcnm"):
            problem |= {f"start_{part}": leaves[2 + i], f"end_{part}": end[i]}
            problem |= {f"d_end_{part}": weights[1 + i], f"d_start_{part}": found[2 + i]}
        problems[name] = problem
    return problems


def mlstm_problems():
    """Gives sequences forward and backward: over several chunks, of few steps, and of one."""
    draw = Draw(5)
    imported = MLSTMOptions(eps=1e-6, stabilizer_start=0.0, gate_soft_cap=15.0)
    problems = {}
    for name, shape, options, kind in (
        ("chunks", (1, 1, 140, 3, 2), MLSTMOptions(), "masked"),
        ("whole", (1, 1, 70, 2, 5), imported, "plain"),
        ("short", (2, 2, 5, 4, 17), imported, "masked"),
        ("step", (2, 2, 1, 8, 16), MLSTMOptions(), "plain"),
    ):
        rows, heads, steps, K, V = shape
        reset, valid = masks(draw, rows if rows > 1 else 2, steps, kind)
        inputs = [draw.normal(rows, heads, steps, size) for size in (K, K, V)]
        inputs += [draw.normal(rows, heads, steps), draw.normal(rows, heads, steps, shift=1.0)]
        start = [draw.normal(rows, heads, K, V), draw.normal(rows, heads, K)]
        start += [draw.normal(rows, heads)]
        leaves = [x.requires_grad_() for x in (*inputs, *start)]
        reset, valid = (None if x is None else x[:rows] for x in (reset, valid))
        out, end = mlstm.sequence(*leaves[:5], MLSTMState(*leaves[5:]), options, reset, valid)
        weights, found = slopes(draw, (out, *end), leaves)
        problem = {"eps": options.eps, "stabilizer_start": options.stabilizer_start}
        problem |= {"cap": options.gate_soft_cap or 0.0, "reset": reset, "valid": valid}
        problem |= {"out": out, "d_out": weights[0]}
        for i, part in enumerate("qkvif"):
            problem |= {f"in_{part}": leaves[i], f"d_in_{part}": found[i]}
        for i, part in enumerate("Cnm"):
            problem |= {f"start_{part}": leaves[5 + i], f"end_{part}": end[i]}
            problem |= {f"d_end_{part}": weights[1 + i], f"d_start_{part}": found[5 + i]}
        problems[name] = problem
    return problems


def conv_problems():
    """Gives convolutions forward and backward."""
    draw = Draw(6)
    problems = {}
    for name, (rows, steps, units, window), bias, kind in (
        ("masked", (3, 7, 19, 4), True, "masked"),
        ("plain", (2, 3, 5, 3), False, "plain"),
        ("one", (2, 4, 6, 1), True, "masked"),
        ("short", (1, 2, 33, 5), True, "plain"),
    ):
        reset, valid = masks(draw, rows, steps, kind)
        names = ["x", "weight", "start"] + ["bias"] * bias
        leaves = [draw.normal(rows, steps, units), draw.normal(units, window)]
        leaves += [draw.normal(rows, window - 1, units)] + [draw.normal(units)] * bias
        leaves = [x.requires_grad_() for x in leaves]
        y, end = conv.sequence(
            *leaves[:2], leaves[3] if bias else None, ConvState(leaves[2]), reset, valid
        )
        (d_y, d_end), found = slopes(draw, (y, *end), leaves)
        problem = {"reset": reset, "valid": valid, "y": y, "d_y": d_y, "d_end": d_end}
        problem["end"] = end.window
        for place, leaf in enumerate(leaves):
            problem |= {names[place]: leaf, f"d_{names[place]}": found[place]}
        problems[name] = problem
    return problems


def backbone_config(kind, width):
    """Gives a small backbone; `mixed` has one block of every kind."""
    feedforward = FeedForwardConfig(factor=1.5, multiple_of=4)
    gelu = replace(feedforward, activation="gelu")
    blocks = {
        "paper": SLSTMBlockConfig(width=width, num_heads=2, feedforward=gelu),
        "plain": SLSTMBlockConfig(
            width=width, num_heads=4, conv_window=0, norm="rms", gate_soft_cap=2.0,
            forget_gate="exp", head_norm_eps=1e-3, feedforward=feedforward,
        ),
        "large": MLSTMBlockConfig(width=width, num_heads=2, feedforward=feedforward),
        "preup": PreUpMLSTMBlockConfig(width=width, num_heads=2, multiple_of=8),
    }  # fmt: skip
    names = tuple(blocks) if kind == "mixed" else (kind,)
    norm = "rms" if kind in ("mixed", "plain") else "layer"
    return BackboneConfig(width=width, blocks=tuple(blocks[name] for name in names), norm=norm)


def backbone_weights(draw, backbone):
    """Gives every weight a random value, and gives them by name."""
    for name, parameter in backbone.named_parameters():
        scale = 0.3 if parameter.ndim > 1 else 0.1
        noise = draw.normal(*parameter.shape, scale=scale)
        shift = 1.0 if "norm" in name else 0.0
        parameter.data = (noise + shift).float().double()
    return {name: p.detach().float().numpy() for name, p in backbone.named_parameters()}


def described(config, weights):
    """Gives the fields of every block as the C interface has them."""
    facts = {"num_blocks": len(config.blocks), "rms_norm": config.norm == "rms"}
    facts |= {"norm_eps": config.norm_eps, "norm": weights["norm.weight"]}
    for index, block in enumerate(config.blocks):
        spec = native_backbone._described(block, f"blocks.{index}.", weights)
        for name, _ in BackboneBlock._fields_[:-1]:
            facts[f"block{index}.{name}"] = getattr(spec, name)
        for place, name in enumerate(native_backbone._PLACES):
            facts[f"block{index}.weight{place}"] = weights.get(f"blocks.{index}.{name}")
    return facts


def backbone_problems():
    """Gives whole backbones from a warm state, with resets and padding."""
    draw = Draw(7)
    problems = {}
    for kind, width, rows, steps in (
        ("mixed", 8, 3, 6),
        ("paper", 20, 2, 3),
        ("plain", 8, 9, 4),
        ("large", 12, 2, 5),
        ("preup", 8, 3, 4),
    ):
        config = backbone_config(kind, width)
        torch.manual_seed(0)
        backbone = Backbone(config).double()
        weights = backbone_weights(draw, backbone)
        reset, valid = masks(draw, rows, steps, "plain" if kind == "paper" else "masked")
        empty = BackboneState(
            tuple(block.mapped(torch.Tensor.double) for block in backbone.init_state(rows).blocks)
        )
        with torch.no_grad():
            _, start = backbone(draw.normal(rows, 3, width), empty)
            start = rounded(start)
            x = draw.normal(rows, steps, width)
            y, end = backbone(x, start, reset, valid)
        problems[kind] = described(config, weights) | {
            "reset": reset, "valid": valid, "x": x, "y": y, "start": flat(start),
            "end": flat(end), "empty": flat(empty)[0],
        }  # fmt: skip
    return problems


def rounded(state):
    """Gives a state that float32 can hold."""
    return BackboneState(
        tuple(block.mapped(lambda x: x.float().double()) for block in state.blocks)
    )


def flat(state):
    """Gives states as rows of numbers."""
    return torch.cat([x.flatten(1) for x in state.tensors()], dim=1)


def main(folder):
    """Writes all files into a folder."""
    write(folder / "map.bin", map_problems())
    write(folder / "matrix.bin", matrix_problems())
    write(folder / "gemm.bin", gemm_problems())
    write(folder / "two_layer_map.bin", two_layer_map_problems())
    write(folder / "slstm.bin", slstm_problems())
    write(folder / "mlstm.bin", mlstm_problems())
    write(folder / "conv.bin", conv_problems())
    write(folder / "backbone.bin", backbone_problems())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
