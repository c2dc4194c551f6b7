"""One step of a policy, called from Python: 2 mLSTM blocks of 128 units, 32 numbers in, 8 out."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.cpu.peers import compiled, named, stir
from benchmarks.cpu.runtime import make_runner
from benchmarks.cpu.weights import arrays, paper_backbone
from benchmarks.cpu.workload import Candidate, Cost, Plan, Precision, Work, ours_by_precision
from xlstmd.nn.config import BackboneConfig, PreUpMLSTMBlockConfig

WIDTH = 128
HEADS = 4
BLOCKS = 2
OBSERVATION = 32
ACTIONS = 8
BATCHES = (1, 256)
CHECK_STEPS = 4
MAPS = ("embedding", "head")
# The official blocks want to know how long a sequence may be; it changes nothing in a step.
CONTEXT = 64

GOALS: dict[int, dict[tuple[Precision, str], float]] = {
    1: {("fp32", "xlstm"): 50.0, ("bf16", "xlstm"): 60.0},
    256: {("fp32", "xlstm"): 5.0},
}

BLOCK = PreUpMLSTMBlockConfig(width=WIDTH, num_heads=HEADS, eps=1e-6, stabilizer_start=0.0)
CONFIG = BackboneConfig(width=WIDTH, blocks=(BLOCK,) * BLOCKS, norm="layer", norm_eps=1e-5)

Floats = NDArray[np.float32]


class Official(nn.Module):
    """The official blocks between two maps."""

    def __init__(self) -> None:
        """Builds it with random weights."""
        super().__init__()
        from xlstm import (
            mLSTMBlockConfig,
            mLSTMLayerConfig,
            xLSTMBlockStack,
            xLSTMBlockStackConfig,
        )

        self.embedding = nn.Linear(OBSERVATION, WIDTH)
        self.stack = xLSTMBlockStack(
            xLSTMBlockStackConfig(
                mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(num_heads=HEADS)),
                context_length=CONTEXT,
                num_blocks=BLOCKS,
                embedding_dim=WIDTH,
            )
        )
        self.head = nn.Linear(WIDTH, ACTIONS)

    def forward(self, observation: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Runs one step [B, 32]."""
        hidden, state = self.stack.step(self.embedding(observation)[:, None], state)
        return self.head(hidden[:, 0]), state


def works(plan: Plan) -> Iterator[Work]:
    """Gives the work for each batch."""
    torch.manual_seed(0)
    model = Official().eval().requires_grad_(False)
    stir(model, seed=1)
    for batch in BATCHES:
        yield work(model, batch, plan)


def work(model: Official, batch: int, plan: Plan) -> Work:
    """Gives the step of one batch."""
    rng = np.random.default_rng(batch)
    observations = rng.normal(size=(CHECK_STEPS, batch, OBSERVATION)).astype(np.float32)
    state = model.state_dict()

    def make(precision: Precision) -> Candidate:
        step, reset = ours(state, precision, plan.threads)
        return steps(precision, "xlstmd", step, reset, observations)

    built, notes = ours_by_precision(("fp32", "bf16", "int8"), make)
    reference = steps("reference", "", *official_step(model), observations).check
    assert reference is not None
    weights = float(sum(p.numel() for p in model.parameters()))
    memory = BLOCKS * batch * HEADS * BLOCK.head_width**2
    return Work(
        id=f"policy-d{WIDTH}-b{batch}",
        ours=built,
        peers=tuple(peers(model, observations, plan)),
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
) -> tuple[Callable[[Floats], Floats], Callable[[int], None]]:
    """Gives our policy: a map, a backbone and a map in one call."""
    stack = {name[6:]: value for name, value in state.items() if name.startswith("stack.")}
    maps = arrays({name: value for name, value in state.items() if not name.startswith("stack.")})
    into, out_of = ((maps[f"{name}.weight"], maps[f"{name}.bias"]) for name in MAPS)
    backbone = paper_backbone(stack, BLOCKS, HEADS)
    runner = make_runner(CONFIG, backbone, precision, threads, (into, out_of))
    return runner.step, runner.reset


def steps(
    label: str,
    name: str,
    step: Callable[[Floats], Any],
    reset: Callable[[int], None],
    observations: Floats,
) -> Candidate:
    """Makes a candidate of a step function: timed going on, checked from an empty memory."""

    def check() -> Tensor:
        reset(observations.shape[1])
        return torch.stack([torch.as_tensor(step(row)).clone() for row in observations])

    return Candidate(label=label, name=name, run=lambda: step(observations[0]), check=check)


def peers(model: Official, observations: Floats, plan: Plan) -> Iterator[Candidate]:
    """Gives `xlstm` eager and compiled."""
    name = named("xlstm", "blocks, eager")
    yield steps("xlstm", name, *official_step(model), observations)
    if not plan.quick:
        for label, frozen in (("xlstm-compiled", False), ("xlstm-frozen", True)):
            name = named("xlstm", "blocks, compiled" + ", weights frozen" * frozen)
            fast = compiled(model, frozen=frozen)
            yield steps(label, name, *official_step(fast), observations)


def official_step(
    model: Callable[..., Any],
) -> tuple[Callable[[Floats], Any], Callable[[int], None]]:
    """Gives the official step. Its memory is made before the first, so that one graph fits all."""
    inner = BLOCK.inner_width
    memory: list[Any] = [None]

    def reset(rows: int) -> None:
        shapes = ((BLOCK.head_width,) * 2, (BLOCK.head_width, 1), (1, 1))
        memory[0] = {
            f"block_{index}": {
                "mlstm_state": tuple(torch.zeros(rows, HEADS, *shape) for shape in shapes),
                "conv_state": (torch.zeros(rows, BLOCK.conv_window, inner),),
            }
            for index in range(BLOCKS)
        }

    def step(observation: Floats) -> Tensor:
        actions: Tensor
        actions, memory[0] = model(torch.from_numpy(observation), memory[0])
        return actions

    return step, reset
