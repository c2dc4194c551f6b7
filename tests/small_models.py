"""Forecasters with random weights: small, quick, and far from trivial."""

import numpy as np
import torch

from xlstmd.models import presets
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.forecast_network import untrained_network
from xlstmd.models.forecaster import Forecaster
from xlstmd.models.runtime import make_runtime


def random_checkpoint(seed=0, name="tiny"):
    """Gives a checkpoint of the tiny preset whose weights are all random."""
    config = presets.tiny()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = untrained_network(config)
    weights = {}
    for parameter_name, parameter in network.named_parameters():
        noise = 0.1 * torch.randn(parameter.shape, generator=generator)
        bias = parameter.detach() if parameter.ndim == 1 else 0.3 * parameter.detach()
        weights[parameter_name] = (bias + noise).numpy()
    return ForecasterCheckpoint(name=name, version="1", config=config, weights=weights)


def random_forecaster(seed=0):
    """Gives a forecaster of the tiny preset."""
    checkpoint = random_checkpoint(seed)
    return Forecaster(checkpoint, make_runtime(checkpoint.config.network, checkpoint.weights))


def sample_series(kind, length, seed=0):
    """Gives a series of a kind that a scale has to cope with."""
    rng = np.random.default_rng(seed)
    place = np.arange(length)
    match kind:
        case "walk":
            return np.cumsum(rng.normal(size=length))
        case "growth":
            return np.exp(place / 60.0) + 0.1 * rng.normal(size=length)
        case "season":
            return np.sin(place / 5.0) + 0.1 * rng.normal(size=length)
        case "constant":
            return np.full(length, 3.0)
        case "late":
            return np.where(place < length // 3, 0.0, np.cumsum(rng.normal(size=length)))
        case "gaps":
            return np.where(rng.random(length) < 0.3, np.nan, rng.normal(size=length))
    raise ValueError(kind)


KINDS = ("walk", "growth", "season", "constant", "late", "gaps")


def tirex_content(width=32, heads=2, blocks=2, patch=32, context=256, hidden=48, seed=0):
    """Gives what lies in a TiRex file, all weights random: hyper-parameters and state."""
    generator = torch.Generator().manual_seed(seed)
    levels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    outputs, units, inner = patch * len(levels), width // heads, 64 * -(-int(2.6667 * width) // 64)
    shapes = {"out_norm.weight": (width,)}
    for name, wide_in, wide_out in (("input", 2 * patch, width), ("output", width, outputs)):
        sizes = {"hidden": (hidden, wide_in), "output": (wide_out, hidden)}
        for layer, shape in (sizes | {"residual": (wide_out, wide_in)}).items():
            shapes[f"{name}_patch_embedding.{layer}_layer.weight"] = shape
            shapes[f"{name}_patch_embedding.{layer}_layer.bias"] = shape[:1]
    for index in range(blocks):
        block = {f"slstm_layer.{gate}gate.weight": (heads, units, units) for gate in "fizo"}
        block |= {
            "slstm_layer.slstm_cell._recurrent_kernel_": (heads, units, 4 * units),
            "slstm_layer.slstm_cell._bias_": (4 * width,),
            "slstm_layer.group_norm.weight": (width,),
            "norm_slstm.weight": (width,),
            "norm_ffn.weight": (width,),
            "ffn.proj_up_gate.weight": (inner, width),
            "ffn.proj_up.weight": (inner, width),
            "ffn.proj_down.weight": (width, inner),
        }
        shapes |= {f"blocks.{index}.{key}": shape for key, shape in block.items()}
    state = {}
    for key, shape in shapes.items():
        size = shape[-1] ** -0.5 if len(shape) > 1 else 0.1
        tensor = size * torch.randn(shape, generator=generator)
        if "norm" in key and "group" not in key:
            tensor += 1.0
        if key.endswith("_bias_"):
            # Forgetting over spans of one to a hundred patches, as trained ones have.
            tensor.view(heads, 4, units)[:, 1] += torch.linspace(-1.0, 5.0, units)
        state[f"block_stack.{key}"] = tensor
    sizes = {"embedding_dim": width, "num_blocks": blocks, "num_heads": heads}
    model = {
        "input_patch_size": patch,
        "output_patch_size": patch,
        "quantiles": levels,
        "input_ff_dim": hidden,
        "block_kwargs": sizes | {"all_slstm": True, "return_last_states": True, "vocab_size": 0},
    }
    return {
        "hyper_parameters": {"model_config": model, "train_ctx_len": context},
        "state_dict": state,
    }


def tirex_file(path, **sizes):
    """Writes a TiRex of random weights to a file."""
    torch.save(tirex_content(**sizes), path)
    return path
