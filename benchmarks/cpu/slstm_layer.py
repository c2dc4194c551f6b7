"""The recurrence of an sLSTM layer, its gate inputs ready: 512 units in 4 heads, 64 steps."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.cpu.peers import compiled, named
from benchmarks.cpu.weights import recurrent_to_tirex, recurrent_to_xlstm
from benchmarks.cpu.workload import Candidate, Cost, Plan, Precision, Work, ours_by_precision
from benchmarks.harness import BenchmarkError
from xlstmd.ops import slstm as slstm_op
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.slstm.options import SLSTMOptions

HEADS = 4
UNITS = 128
WIDTH = HEADS * UNITS
STEPS = 64
BATCHES = (1, 64)

GOALS: dict[int, dict[tuple[Precision, str], float]] = {
    1: {("fp32", "xlstm"): 25.0, ("fp32", "tirex-compiled"): 4.0},
    64: {("fp32", "xlstm"): 350.0, ("fp32", "tirex"): 120.0},
}


def works(plan: Plan) -> Iterator[Work]:
    """Gives the work for each batch."""
    for batch in BATCHES[:1] if plan.quick else BATCHES:
        yield work(batch, plan)


def work(batch: int, plan: Plan) -> Work:
    """Gives the work for one batch."""
    generator = torch.Generator().manual_seed(batch)
    preacts = torch.randn(batch, STEPS, 4, HEADS, UNITS, generator=generator)
    recurrent = torch.randn(HEADS, UNITS, 4, UNITS, generator=generator) / UNITS**0.5

    def make(precision: Precision) -> Candidate:
        call = ours(preacts, recurrent, precision)
        return Candidate(label=precision, name="xlstmd", run=call, check=call)

    built, notes = ours_by_precision(("fp32",), make)
    numbers = 4 * UNITS * WIDTH
    return Work(
        id=f"slstm-t{STEPS}-b{batch}",
        ours=built,
        peers=tuple(peers(preacts, recurrent, plan)),
        reference=xlstm_call(preacts, recurrent),
        goals=GOALS[batch],
        cost=Cost(
            flops=2.0 * numbers * STEPS * batch,
            weights=numbers * STEPS,
            resident=numbers,
            # Gate inputs are read and outputs written once.
            state_bytes=0.0,
        ),
        notes=notes,
    )


def ours(preacts: Tensor, recurrent: Tensor, precision: Precision) -> Callable[[], Tensor]:
    """Gives our side: the implementation that is chosen at load."""
    if precision != "fp32":
        raise BenchmarkError("the operation has one precision")
    operation = select("slstm", slstm_op.IMPLEMENTATIONS, Problem(needs_grad=False))
    state = operation.init(len(preacts), HEADS, UNITS)
    options = SLSTMOptions()

    def call() -> Tensor:
        out: Tensor = operation.sequence(preacts, recurrent, state, options)[0]
        return out

    return call


def peers(preacts: Tensor, recurrent: Tensor, plan: Plan) -> Iterator[Candidate]:
    """Gives the official cells, and torch's LSTM for scale."""
    call = xlstm_call(preacts, recurrent)
    yield Candidate(label="xlstm", name=named("xlstm", "vanilla, eager"), run=call, check=call)
    eager = tirex_call(preacts, recurrent)
    yield Candidate(label="tirex", name=named("tirex", "eager"), run=eager, check=eager)
    if not plan.quick:
        fast = tirex_call(preacts, recurrent, fast=True)
        yield Candidate(
            label="tirex-compiled", name=named("tirex", "compiled"), run=fast, check=fast
        )
    lstm = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True).eval()
    inputs = torch.randn(len(preacts), STEPS, WIDTH)
    yield Candidate(
        label="torch-lstm",
        name=f"torch.nn.LSTM({WIDTH}) {torch.__version__}, another function, for scale",
        run=lambda: lstm(inputs)[0],
        check=None,
    )


def xlstm_call(preacts: Tensor, recurrent: Tensor) -> Callable[[], Tensor]:
    """Gives the vanilla cell of `xlstm`: its form without CUDA."""
    from xlstm.blocks.slstm.cell import sLSTMCell, sLSTMCellConfig

    config = sLSTMCellConfig(
        hidden_size=WIDTH, num_heads=HEADS, backend="vanilla", dtype="float32", dtype_b="float32"
    )
    cell: Any = sLSTMCell(config).eval()
    cell.load_state_dict(
        {"_recurrent_kernel_": recurrent_to_xlstm(recurrent), "_bias_": torch.zeros(4 * WIDTH)}
    )
    inputs = preacts.flatten(2)
    return lambda: cell(inputs)[0].transpose(1, 2)


def tirex_call(preacts: Tensor, recurrent: Tensor, fast: bool = False) -> Callable[[], Tensor]:
    """Gives the cell of `tirex-ts`, whose state and weights are bfloat16."""
    from tirex.models.slstm.cell import sLSTMBlockConfig, sLSTMCell, sLSTMCellTorch

    cell: Any = sLSTMCell(sLSTMBlockConfig(embedding_dim=WIDTH, num_heads=HEADS), "torch").eval()
    cell.load_state_dict(
        {"_recurrent_kernel_": recurrent_to_tirex(recurrent), "_bias_": torch.zeros(4 * WIDTH)}
    )
    if fast:
        cell._impl_forward_torch = compiled(sLSTMCellTorch.slstm_forward)
    inputs = preacts.flatten(2)
    return lambda: cell(inputs, None)[0].transpose(1, 2)
