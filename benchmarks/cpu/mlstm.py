"""The matrix memory alone: a long sequence, and single steps through the layers of a model."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.cpu.peers import compiled, named, transformers_own
from benchmarks.cpu.workload import BEST, Candidate, Cost, Plan, Precision, Work, ours_by_precision
from benchmarks.harness import BenchmarkError
from xlstmd.ops import mlstm as mlstm_op
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.mlstm.stepper import MLSTMStepper
from xlstmd.ops.selection import Problem, select
from xlstmd.ops.state import MLSTMState

HEADS = 4
CHUNK = 64

# As the official code has it.
EPS = 1e-6
OPTIONS = MLSTMOptions(eps=EPS, stabilizer_start=0.0)

PREFILL_STEPS = 2048
PREFILL_KEY, PREFILL_VALUE = 128, 256
PREFILL_BATCHES = (1, 8)

LAYERS = 12
STEP_KEY, STEP_VALUE = 96, 192
STEP_BATCHES = (1, 32)
STEP_CHECKS = 3

PREFILL_GOAL = 6.0
STEP_GOALS = {1: 16.0, 32: 12.0}

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
States = list[tuple[Tensor, Tensor, Tensor]]


def works(plan: Plan) -> Iterator[Work]:
    """Gives the prefills, then the steps."""
    for batch in PREFILL_BATCHES[:1] if plan.quick else PREFILL_BATCHES:
        yield prefill(batch, plan)
    for batch in STEP_BATCHES:
        yield step(batch, plan)


def prefill(batch: int, plan: Plan) -> Work:
    """Gives a long sequence from an empty memory."""
    shapes = (batch, HEADS, PREFILL_STEPS)
    inputs = draw(shapes, PREFILL_KEY, PREFILL_VALUE)

    def make(precision: Precision) -> Candidate:
        call = ours_prefill(inputs, precision)
        return Candidate(label=precision, name="xlstmd", run=call, check=call)

    built, notes = ours_by_precision(("fp32",), make)
    tokens = batch * HEADS * PREFILL_STEPS
    # Memory written and read, and half of each chunk's square.
    products = 2 * PREFILL_KEY * PREFILL_VALUE + CHUNK * (PREFILL_KEY + PREFILL_VALUE) / 2
    return Work(
        id=f"mlstm-prefill-t{PREFILL_STEPS}-b{batch}",
        ours=built,
        peers=tuple(prefill_peers(inputs, plan)),
        reference=kernels_prefill("chunkwise--native_autograd", inputs),
        goals={("fp32", BEST): PREFILL_GOAL},
        cost=Cost(flops=2.0 * tokens * products),
        notes=notes,
    )


def draw(shape: tuple[int, ...], key: int, value: int) -> Inputs:
    """Draws queries, keys, values and both gates' pre-activations.

    Queries and keys share a direction, so that no normalizer comes near zero: there, fp32 loses
    digits in every program, and a comparison of two of them means nothing.
    """
    generator = torch.Generator().manual_seed(sum(shape))
    q = 1.0 + torch.randn(*shape, key, generator=generator)
    k = 1.0 + torch.randn(*shape, key, generator=generator)
    v = torch.randn(*shape, value, generator=generator)
    i = torch.randn(*shape, generator=generator)
    f = 3.0 + torch.randn(*shape, generator=generator)
    return q, k, v, i, f


def ours_prefill(inputs: Inputs, precision: Precision) -> Callable[[], Tensor]:
    """Gives our side: the implementation that is chosen at load."""
    operation = _operation(precision)
    state = MLSTMState.zeros(
        len(inputs[0]), HEADS, PREFILL_KEY, PREFILL_VALUE, stabilizer_start=0.0
    )

    def call() -> Tensor:
        h: Tensor = operation.sequence(*inputs, state, OPTIONS)[0]
        return h

    return call


def prefill_peers(inputs: Inputs, plan: Plan) -> Iterator[Candidate]:
    """Gives the forms that are linear in time; the quadratic ones are ten times slower."""
    for label, kernel in (("autograd", "native_autograd"), ("custbw", "native_custbw")):
        call = kernels_prefill(f"chunkwise--{kernel}", inputs)
        name = named("mlstm_kernels", f"chunkwise {kernel}")
        yield Candidate(label=f"kernels-{label}", name=name, run=call, check=call)
    if not plan.quick:
        call = kernels_prefill("chunkwise--native_autograd", inputs, fast=True)
        name = named("mlstm_kernels", "chunkwise native_autograd, compiled")
        yield Candidate(label="kernels-compiled", name=name, run=call, check=call)
    q, k, v, i, f = inputs
    own = transformers_own().mlstm_chunkwise_native_autograd
    call = lambda: own(q, k, v, i, f, return_last_states=True, eps=EPS, chunk_size=CHUNK)[0]  # noqa: E731
    name = named("transformers", "own code, chunkwise")
    yield Candidate(label="transformers", name=name, run=call, check=call)


def kernels_prefill(kernel: str, inputs: Inputs, fast: bool = False) -> Callable[[], Tensor]:
    """Gives a sequence kernel of `mlstm_kernels`."""
    from mlstm_kernels.torch import get_mlstm_kernel

    run: Any = get_mlstm_kernel(kernel)
    if fast:
        run = compiled(run)
    q, k, v, i, f = inputs
    return lambda: run(q, k, v, i, f, return_last_states=True, eps=EPS, chunk_size=CHUNK)[0]


def step(batch: int, plan: Plan) -> Work:
    """Gives one step of each layer, one after the other, each with a memory of its own."""
    inputs = draw((batch, HEADS), STEP_KEY, STEP_VALUE)

    def make(precision: Precision) -> Candidate:
        call, check = ours_step(inputs, precision)
        return Candidate(label=precision, name="xlstmd", run=call, check=check)

    built, notes = ours_by_precision(("fp32",), make)
    numbers = LAYERS * batch * HEADS * STEP_KEY * STEP_VALUE
    peers = tuple(step_peers(inputs, plan))
    reference = peers[0].check
    assert reference is not None
    return Work(
        id=f"mlstm-step-{LAYERS}layers-b{batch}",
        ours=built,
        peers=peers,
        reference=reference,
        goals={("fp32", "kernels"): STEP_GOALS[batch]},
        # Decay, outer product, read-out; states are at least read.
        cost=Cost(flops=6.0 * numbers, state_bytes=4.0 * numbers),
        notes=notes,
    )


def ours_step(
    inputs: Inputs, precision: Precision
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Gives our side, going on from step to step, and from an empty memory."""
    if precision != "fp32":
        raise BenchmarkError("the operation has one precision")
    sizes = (len(inputs[0]), HEADS, STEP_KEY, STEP_VALUE)

    def empty() -> list[MLSTMStepper]:
        states = [MLSTMState.zeros(*sizes, stabilizer_start=0.0) for _ in range(LAYERS)]
        return [MLSTMStepper(state, OPTIONS) for state in states]

    def advance(steppers: list[MLSTMStepper]) -> Tensor:
        for stepper in steppers:
            h = stepper.step(*inputs)
        return h

    kept = empty()
    return lambda: advance(kept), lambda: _some_steps(advance, empty())


def step_peers(inputs: Inputs, plan: Plan) -> Iterator[Candidate]:
    """Gives the official step functions with the copy of the state that official models make."""
    from mlstm_kernels.torch import get_mlstm_step_kernel

    kernel: Any = get_mlstm_step_kernel("native")
    own: Any = transformers_own().mlstm_recurrent_step_native
    forms = [
        ("kernels", kernel, named("mlstm_kernels", "step native")),
        ("transformers", own, named("transformers", "own code, step")),
    ]
    if not plan.quick:
        name = named("mlstm_kernels", "step native, compiled")
        forms.insert(1, ("kernels-compiled", compiled(kernel), name))
    for label, function, name in forms:
        call, check = peer_step(function, inputs)
        yield Candidate(label=label, name=name, run=call, check=check)


def peer_step(
    function: Callable[..., Any], inputs: Inputs
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Gives an official step, going on from step to step, and from an empty memory."""
    q, k, v, i, f = inputs
    i, f = i.unsqueeze(-1), f.unsqueeze(-1)
    batch = len(q)

    def empty() -> States:
        shapes = ((STEP_KEY, STEP_VALUE), (STEP_KEY,), (1,))
        zeros = [torch.zeros(LAYERS, batch, HEADS, *shape) for shape in shapes]
        return [(c, n, m) for c, n, m in zip(*(part.unbind() for part in zeros), strict=True)]

    def advance(states: States) -> Tensor:
        for state in states:
            h, after = function(q, k, v, i, f, *state, eps=EPS)
            for kept, new in zip(state, after, strict=True):
                kept.copy_(new)
        out: Tensor = h
        return out

    kept = empty()
    return lambda: advance(kept), lambda: _some_steps(advance, empty())


def _some_steps(advance: Callable[[Any], Tensor], states: Any) -> Tensor:
    return torch.stack([advance(states).clone() for _ in range(STEP_CHECKS)])


def _operation(precision: Precision) -> Any:
    if precision != "fp32":
        raise BenchmarkError("the operation has one precision")
    return select("mlstm", mlstm_op.IMPLEMENTATIONS, Problem(needs_grad=False))
