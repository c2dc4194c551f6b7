"""Single-step decoding with a language model: 12 blocks, 768 units, 50304 tokens."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.cpu.peers import compiled, named, transformers_own
from benchmarks.cpu.runtime import make_runner
from benchmarks.cpu.weights import large_backbone
from benchmarks.cpu.workload import Candidate, Cost, Plan, Precision, Work, ours_by_precision
from xlstmd.nn.config import BackboneConfig, MLSTMBlockConfig

WIDTH = 768
HEADS = 4
BLOCKS = 12
VOCABULARY = 50304
LOGIT_CAP = 30.0
CHECK_STEPS = 4

PRECISIONS: dict[int, tuple[Precision, ...]] = {
    1: ("fp32", "bf16", "int8"),
    32: ("fp32", "bf16", "int8"),
}
GOALS: dict[int, dict[tuple[Precision, str], float]] = {
    1: {("fp32", "xlstm"): 3.2, ("bf16", "xlstm"): 6.0, ("int8", "xlstm"): 10.0},
    32: {("fp32", "xlstm"): 4.5, ("bf16", "xlstm"): 7.0},
}

BLOCK = MLSTMBlockConfig(width=WIDTH, num_heads=HEADS, eps=1e-6, stabilizer_start=0.0)
CONFIG = BackboneConfig(width=WIDTH, blocks=(BLOCK,) * BLOCKS)

Tokens = NDArray[np.int64]


def works(plan: Plan) -> Iterator[Work]:
    """Gives the work for each batch."""
    model = official(torch.float32)
    for batch in PRECISIONS:
        yield work(model, batch, plan)


def work(model: Any, batch: int, plan: Plan) -> Work:
    """Gives the decoding of one batch."""
    tokens = np.random.default_rng(batch).integers(VOCABULARY, size=(CHECK_STEPS, batch))
    state = model.state_dict()

    def make(precision: Precision) -> Candidate:
        step, reset = ours(state, precision, plan.threads)
        return steps(precision, "xlstmd", step, reset, tokens)

    built, notes = ours_by_precision(PRECISIONS[batch], make)
    peers = tuple(official_peers(model, tokens, plan))
    reference = peers[0].check
    assert reference is not None
    weights = float(sum(p.numel() for p in model.parameters()) - VOCABULARY * WIDTH)
    memory = BLOCKS * batch * HEADS * BLOCK.qk_width * BLOCK.value_width
    return Work(
        id=f"lm-decode-b{batch}",
        ours=built,
        peers=peers,
        reference=reference,
        goals=GOALS[batch],
        cost=Cost(
            flops=2.0 * batch * weights + 6.0 * memory,
            weights=weights,
            resident=weights,
            state_bytes=4.0 * memory,
        ),
        notes=notes,
    )


def ours(
    state: dict[str, Tensor], precision: Precision, threads: int
) -> tuple[Callable[[Tokens], Any], Callable[[int], None]]:
    """Gives our model: a table, then a backbone and a packed head in one call."""
    head = (state["lm_head.weight"].numpy(), None)
    backbone = large_backbone(state, BLOCKS, HEADS)
    runner = make_runner(CONFIG, backbone, precision, threads, (None, head))
    table = state["embedding.weight"].numpy()

    def step(tokens: Tokens) -> NDArray[np.float32]:
        logits = runner.step(table[tokens])
        logits /= LOGIT_CAP
        np.tanh(logits, out=logits)
        logits *= LOGIT_CAP
        return logits

    return step, runner.reset


def steps(
    label: str,
    name: str,
    step: Callable[[Tokens], Any],
    reset: Callable[[int], None],
    tokens: Tokens,
) -> Candidate:
    """Makes a candidate of a step function: timed going on, checked from an empty memory."""

    def check() -> Tensor:
        reset(tokens.shape[1])
        return torch.stack([torch.as_tensor(step(row)).float().clone() for row in tokens])

    return Candidate(label=label, name=name, run=lambda: step(tokens[0]), check=check)


def official(dtype: torch.dtype) -> Any:
    """Builds the model of `xlstm` with its kernels for a CPU."""
    from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig

    torch.manual_seed(0)
    config = xLSTMLargeConfig(
        embedding_dim=WIDTH,
        num_heads=HEADS,
        num_blocks=BLOCKS,
        vocab_size=VOCABULARY,
        return_last_states=True,
        mode="inference",
        chunkwise_kernel="chunkwise--native_autograd",
        sequence_kernel="native_sequence__native",
        step_kernel="native",
        autocast_kernel_dtype=str(dtype).removeprefix("torch."),
        # The default of one weight each; joined weights are no faster here.
        weight_mode="single",
    )
    model = xLSTMLarge(config).eval().requires_grad_(False)
    for block in model.backbone.blocks:
        # The package leaves gates at random. Forget gates as published; input gates small, as
        # published too (-10), but not so small that memory counts for nothing. With open ones the
        # head norm divides by read-outs near zero, and fp32 loses digits in every program.
        block.mlstm_layer.fgate_preact.bias.copy_(torch.linspace(3.0, 6.0, HEADS))
        block.mlstm_layer.igate_preact.bias.fill_(-6.0)
    return model.to(dtype)


def official_peers(model: Any, tokens: Tokens, plan: Plan) -> Iterator[Candidate]:
    """Gives `xlstm` in fp32 and bfloat16, compiled, and the own code of transformers."""
    yield steps("xlstm", named("xlstm", "large, eager"), *xlstm_step(model), tokens)
    if not plan.quick:
        half = official(torch.bfloat16)
        half.load_state_dict(model.state_dict())
        name = named("xlstm", "large, eager, bfloat16")
        yield steps("xlstm-bf16", name, *xlstm_step(half), tokens)
        name = named("xlstm", "large, compiled max-autotune, weights frozen")
        fast = compiled(model, frozen=True)
        yield steps("xlstm-compiled", name, *xlstm_step(fast), tokens)
        name = named("xlstm", "large, compiled max-autotune, weights frozen, bfloat16")
        fast = compiled(half, frozen=True)
        yield steps("xlstm-bf16-compiled", name, *xlstm_step(fast), tokens)
    name = named("transformers", "own code, eager")
    yield steps("transformers", name, *transformers_step(model), tokens)


def xlstm_step(
    call: Callable[..., Any],
) -> tuple[Callable[[Tokens], Any], Callable[[int], None]]:
    """Gives the official step; the model updates its memory in place."""
    memory: dict[int, Any] = {}

    def reset(rows: int) -> None:
        shapes = ((BLOCK.qk_width, BLOCK.value_width), (BLOCK.qk_width,), (1,))
        for block in range(BLOCKS):
            memory[block] = tuple(torch.zeros(rows, HEADS, *shape) for shape in shapes)

    def step(tokens: Tokens) -> Tensor:
        logits: Tensor = call(torch.from_numpy(tokens[:, None]), memory)[0]
        return logits[:, 0]

    return step, reset


def transformers_step(model: Any) -> tuple[Callable[[Tokens], Any], Callable[[int], None]]:
    """Gives the step of transformers with the weights of the official model."""
    module = transformers_own()
    config = module.xLSTMConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=BLOCKS,
        num_heads=HEADS,
        ffn_proj_factor=2.6667,
        autocast_kernel_dtype="float32",
    )
    own = module.xLSTMForCausalLM(config).eval().requires_grad_(False)
    renamed = {
        name.replace("embedding.", "backbone.embeddings.", 1)
        if name.startswith("embedding.")
        else name: tensor
        for name, tensor in model.state_dict().items()
    }
    own.load_state_dict(renamed)
    cache: list[Any] = [None]

    def reset(rows: int) -> None:
        cache[0] = module.xLSTMCache(config, rows, dtype=torch.float32)

    def step(tokens: Tokens) -> Tensor:
        inputs = torch.from_numpy(tokens[:, None])
        logits: Tensor = own(inputs, cache=cache[0], use_cache=True).logits
        return logits[:, 0]

    return step, reset
