"""The peers' weights under our names, and the other way round."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Arrays = dict[str, NDArray[np.float32]]
Tensors = dict[str, Tensor]

# Both official sLSTM layers call the map into the input gate's slot `fgate`, and the other `igate`.
SLSTM_GATES = {
    "fgate": "input_gate",
    "igate": "forget_gate",
    "zgate": "cell_input",
    "ogate": "output_gate",
}

LARGE_NAMES = {
    "norm_mlstm.weight": "norm.weight",
    "norm_ffn.weight": "feedforward_norm.weight",
    "mlstm_layer.q.weight": "layer.query.weight",
    "mlstm_layer.k.weight": "layer.key.weight",
    "mlstm_layer.v.weight": "layer.value.weight",
    "mlstm_layer.ogate_preact.weight": "layer.output_gate.weight",
    "mlstm_layer.igate_preact.weight": "layer.input_gate.weight",
    "mlstm_layer.igate_preact.bias": "layer.input_gate.bias",
    "mlstm_layer.fgate_preact.weight": "layer.forget_gate.weight",
    "mlstm_layer.fgate_preact.bias": "layer.forget_gate.bias",
    "mlstm_layer.out_proj.weight": "layer.out.weight",
    "ffn.proj_up_gate.weight": "feedforward.gate.weight",
    "ffn.proj_up.weight": "feedforward.up.weight",
    "ffn.proj_down.weight": "feedforward.down.weight",
}


def arrays(tensors: Tensors) -> Arrays:
    """Gives contiguous float32 arrays."""
    return {
        name: np.ascontiguousarray(tensor.detach().float().numpy())
        for name, tensor in tensors.items()
    }


def recurrent_to_xlstm(recurrent: Tensor) -> Tensor:
    """Turns [H, from, gate, to] into the vanilla cell's [H, gate * to, from]."""
    heads, units = recurrent.shape[:2]
    return recurrent.permute(0, 2, 3, 1).reshape(heads, 4 * units, units)


def recurrent_to_tirex(recurrent: Tensor) -> Tensor:
    """Turns [H, from, gate, to] into [H, from, gate * to]."""
    return recurrent.flatten(2)


def large_backbone(state: Tensors, num_blocks: int, num_heads: int) -> Arrays:
    """Gives the weights of a backbone from those of `xlstm_large` (single weights).

    Args:
      state: state_dict of the whole model.
      num_blocks: of it.
      num_heads: of it.
    """
    ours: Tensors = {"norm.weight": state["backbone.out_norm.weight"]}
    for index in range(num_blocks):
        theirs, place = f"backbone.blocks.{index}.", f"blocks.{index}."
        for name, own in LARGE_NAMES.items():
            ours[place + own] = state[theirs + name]
        gain = state[theirs + "mlstm_layer.multihead_norm.weight"]
        ours[place + "layer.head_norm.weight"] = gain.reshape(num_heads, -1)
    return arrays(ours)


def paper_backbone(state: Tensors, num_blocks: int, num_heads: int) -> Arrays:
    """Gives the weights of a backbone from those of an `xLSTMBlockStack` of mLSTM blocks.

    Its norms store the gain less 1; its keys are scaled where ours scales queries, which is the
    same product.

    Args:
      state: state_dict of the stack.
      num_blocks: of it.
      num_heads: of it.
    """
    ours: Tensors = {"norm.weight": 1.0 + state["post_blocks_norm.weight"]}
    for index in range(num_blocks):
        block = _paper_mlstm(state, f"blocks.{index}.", num_heads)
        ours |= {f"blocks.{index}.{name}": tensor for name, tensor in block.items()}
    return arrays(ours)


def _paper_mlstm(state: Tensors, prefix: str, num_heads: int) -> Tensors:
    layer = prefix + "xlstm."
    up, gate = state[layer + "proj_up.weight"].chunk(2)
    ours = {
        "norm.weight": 1.0 + state[prefix + "xlstm_norm.weight"],
        "layer.up.weight": up,
        "layer.gate.weight": gate,
        "layer.conv.weight": state[layer + "conv1d.conv.weight"].squeeze(1),
        "layer.conv.bias": state[layer + "conv1d.conv.bias"],
        "layer.skip": state[layer + "learnable_skip"],
        "layer.down.weight": state[layer + "proj_down.weight"],
    }
    for theirs, own in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value")):
        ours[f"layer.{own}.weight"] = state[f"{layer}{theirs}.weight"].transpose(1, 2)
    for theirs, own in (("igate", "input_gate"), ("fgate", "forget_gate")):
        for kind in ("weight", "bias"):
            ours[f"layer.{own}.{kind}"] = state[f"{layer}mlstm_cell.{theirs}.{kind}"]
    gain = 1.0 + state[layer + "mlstm_cell.outnorm.weight"]
    ours["layer.head_norm.weight"] = gain.reshape(num_heads, -1)
    return ours


def tirex_backbone(state: Tensors, num_blocks: int, num_heads: int) -> Arrays:
    """Gives the weights of a backbone from those of a TiRex network of any size.

    Args:
      state: state_dict of the whole network.
      num_blocks: of it.
      num_heads: of it.
    """
    ours: Tensors = {"norm.weight": state["out_norm.weight"]}
    for index in range(num_blocks):
        block = _tirex_block(state, f"blocks.{index}.", num_heads)
        ours |= {f"blocks.{index}.{name}": tensor for name, tensor in block.items()}
    return arrays(ours)


def _tirex_block(state: Tensors, prefix: str, num_heads: int) -> Tensors:
    layer = prefix + "slstm_layer."
    recurrent = state[layer + "slstm_cell._recurrent_kernel_"]
    units = recurrent.shape[1]
    bias = state[layer + "slstm_cell._bias_"].reshape(num_heads, 4, units)
    gain = 1.0 + state[layer + "group_norm.weight"]
    ours = {
        "norm.weight": state[prefix + "norm_slstm.weight"],
        "feedforward_norm.weight": state[prefix + "norm_ffn.weight"],
        "feedforward.gate.weight": state[prefix + "ffn.proj_up_gate.weight"],
        "feedforward.up.weight": state[prefix + "ffn.proj_up.weight"],
        "feedforward.down.weight": state[prefix + "ffn.proj_down.weight"],
        "layer.recurrent": recurrent.reshape(num_heads, units, 4, units),
        "layer.bias": bias.transpose(0, 1),
        "layer.head_norm.weight": gain.reshape(num_heads, units),
    }
    for theirs, own in SLSTM_GATES.items():
        ours[f"layer.{own}.weight"] = state[f"{layer}{theirs}.weight"].transpose(1, 2)
    return ours
