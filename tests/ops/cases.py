"""Random problems for every operation, in one form, so that one law serves them all."""

from dataclasses import dataclass, field, replace
from importlib import import_module

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

from xlstmd.ops import conv, mlstm, slstm
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.selection import Problem
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import ConvState, MLSTMState, SLSTMState

# Small tensors only: threads would spend their time waiting for each other.
torch.set_num_threads(1)

LAW = settings(derandomize=True, deadline=None, max_examples=12, database=None)
QUICK_LAW = settings(LAW, max_examples=6)

seeds = st.integers(0, 2**31 - 1)
lengths = st.integers(1, 40)


@dataclass(frozen=True, kw_only=True)
class Flavor:
    """An operation with the options and widths under which a law is asked.

    Attributes:
      time_axis: axis of the steps in every input and in the output.
      gates: which of the inputs are gate pre-activations.
    """

    name: str
    op: str
    time_axis: int
    options: object = None
    widths: dict = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem: everything but the masks."""

    flavor: Flavor
    inputs: tuple
    weights: tuple
    state: tuple

    def leaves(self):
        """Gives every tensor that may have a gradient, by name."""
        tensors = {f"input {i}": x for i, x in enumerate(self.inputs)}
        tensors |= {f"weight {i}": x for i, x in enumerate(self.weights) if x is not None}
        return tensors | {f"initial {k}": x for k, x in self.state._asdict().items()}

    def mapped(self, change):
        """Gives a case whose tensors are changed ones."""
        return replace(
            self,
            inputs=tuple(map(change, self.inputs)),
            weights=tuple(None if x is None else change(x) for x in self.weights),
            state=type(self.state)(*map(change, self.state)),
        )

    def attached(self):
        """Gives a copy whose tensors ask for gradients."""
        return self.mapped(lambda x: x.detach().clone().requires_grad_())

    def steps(self, index):
        """Gives some steps, in the order of the index."""
        axis = self.flavor.time_axis
        index = torch.as_tensor(index, dtype=torch.long)
        return replace(self, inputs=tuple(x.index_select(axis, index) for x in self.inputs))

    def span(self, start, stop):
        """Gives the steps from start on, before stop."""
        return self.steps(range(start, stop))

    def rows(self, index):
        """Gives some rows."""
        index = torch.as_tensor(index, dtype=torch.long)
        return replace(
            self,
            inputs=tuple(x[index] for x in self.inputs),
            state=type(self.state)(*(x[index] for x in self.state)),
        )

    def fed(self, *inputs):
        """Gives other inputs after the same history."""
        return replace(self, inputs=inputs)

    def starting_from(self, state):
        """Gives the same inputs after another history."""
        return replace(self, state=state)

    def empty_state(self):
        """Gives the state before the first step."""
        return fresh_state(self.flavor, self.state[0].shape[0], self.state[0].dtype)

    @property
    def batch_size(self):
        """Rows."""
        return self.inputs[0].shape[0]

    @property
    def length(self):
        """Steps."""
        return self.inputs[0].shape[self.flavor.time_axis]


FLAVORS = (
    Flavor(name="mlstm", op="mlstm", time_axis=2, options=MLSTMOptions(), widths={"K": 3, "V": 5}),
    Flavor(
        name="mlstm-imported",
        op="mlstm",
        time_axis=2,
        options=MLSTMOptions(eps=1e-6, stabilizer_start=0.0),
        widths={"K": 4, "V": 4},
    ),
    Flavor(
        name="mlstm-capped",
        op="mlstm",
        time_axis=2,
        options=MLSTMOptions(gate_soft_cap=1.5),
        widths={"K": 5, "V": 2},
    ),
    Flavor(name="slstm-sigmoid", op="slstm", time_axis=1, options=SLSTMOptions()),
    Flavor(name="slstm-exp", op="slstm", time_axis=1, options=SLSTMOptions(forget_gate="exp")),
    Flavor(name="slstm-capped", op="slstm", time_axis=1, options=SLSTMOptions(gate_soft_cap=1.5)),
    Flavor(name="conv", op="conv", time_axis=1, widths={"W": 4, "bias": True}),
    Flavor(name="conv-plain", op="conv", time_axis=1, widths={"W": 3, "bias": False}),
    Flavor(name="conv-one", op="conv", time_axis=1, widths={"W": 1, "bias": True}),
)
OPS = {"mlstm": mlstm, "slstm": slstm, "conv": conv}
HEADS, WIDTH = 2, 3


def forms(*, reference=True, ops=tuple(OPS), only=None, without=()):
    """Gives (flavor, module) of all implementations, for `parametrize`."""
    pairs = []
    for flavor in FLAVORS:
        for implementation in OPS[flavor.op].IMPLEMENTATIONS:
            wanted = implementation.name == only if only else True
            if implementation.name == "reference" and not reference:
                wanted = False
            if flavor.op in ops and flavor.name not in without and wanted:
                pairs.append(_pair(flavor, implementation))
    return {"argnames": ("flavor", "form"), "argvalues": pairs}


def _pair(flavor, implementation):
    """Gives one (flavor, module), skipped where the implementation cannot run here."""
    reason = implementation.refuses(Problem(dtype="float64"))
    marks = () if reason is None else pytest.mark.skip(reason=f"{implementation.name}: {reason}")
    form = import_module(implementation.module)
    return pytest.param(flavor, form, marks=marks, id=f"{flavor.name}-{implementation.name}")


def reference_of(flavor):
    """Gives the definition of an operation."""
    return import_module(f"xlstmd.ops.{flavor.op}.reference")


def fresh_state(flavor, batch_size, dtype):
    """Gives the state before the first step."""
    if flavor.op == "mlstm":
        start = flavor.options.stabilizer_start
        K, V = flavor.widths["K"], flavor.widths["V"]
        return MLSTMState.zeros(batch_size, HEADS, K, V, stabilizer_start=start, dtype=dtype)
    if flavor.op == "slstm":
        return SLSTMState.zeros(batch_size, HEADS, WIDTH, dtype=dtype)
    return ConvState.zeros(batch_size, flavor.widths["W"], WIDTH, dtype=dtype)


def draw_case(flavor, seed, batch_size, length, *, dtype=torch.float64, warm=True):
    """Draws a problem; `warm` starts in the middle of a stream."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    B, T, H, D = batch_size, length, HEADS, WIDTH
    state, weights = fresh_state(flavor, B, torch.float64), ()
    if flavor.op == "mlstm":
        K, V = flavor.widths["K"], flavor.widths["V"]
        inputs = (normal(B, H, T, K), normal(B, H, T, K), normal(B, H, T, V))
        inputs += (normal(B, H, T), normal(B, H, T) + 1.0)
        if warm:
            state = MLSTMState(normal(B, H, K, V), normal(B, H, K), normal(B, H))
    elif flavor.op == "slstm":
        inputs = (1.5 * normal(B, T, 4, H, D),)
        weights = (0.5 * normal(H, D, 4, D),)
        if warm:
            normalizer = 1.0 + normal(B, H, D).abs()
            state = SLSTMState(normal(B, H, D), normal(B, H, D), normalizer, normal(B, H, D))
    else:
        inputs = (normal(B, T, D),)
        bias = normal(D) if flavor.widths["bias"] else None
        weights = (normal(D, flavor.widths["W"]), bias)
        if warm:
            state = ConvState(normal(B, flavor.widths["W"] - 1, D))
    case = Case(flavor=flavor, inputs=inputs, weights=weights, state=state)
    return case.mapped(lambda x: x.to(dtype))


def draw_mask(seed, batch_size, length, chance):
    """Draws a mask [B, T] that is True with the given chance."""
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.rand(batch_size, length, generator=generator) < chance


def run(form, case, reset=None, valid=None, **more):
    """Runs a whole case."""
    options = () if case.flavor.options is None else (case.flavor.options,)
    return form.sequence(*case.inputs, *case.weights, case.state, *options, reset, valid, **more)


def run_steps(form, case):
    """Runs a case step by step."""
    axis, state, outputs = case.flavor.time_axis, case.state, []
    options = () if case.flavor.options is None else (case.flavor.options,)
    for t in range(case.length):
        now = (x.select(axis, t) for x in case.inputs)
        y, state = form.step(*now, *case.weights, state, *options)
        outputs.append(y)
    return torch.stack(outputs, dim=axis), state


def named(result):
    """Gives the output and every part of the final state, by name."""
    y, state = result
    return {"output": y} | {f"final {k}": x for k, x in state._asdict().items()}


def gradients(run_case, case, seed=0):
    """Gives the gradients of a random functional of outputs and final state, by name."""
    leaves = case.attached()
    generator = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for tensor in named(run_case(leaves)).values():
        weight = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        loss = loss + (weight * tensor.double()).sum()
    tensors = leaves.leaves()
    found = torch.autograd.grad(loss, list(tensors.values()), allow_unused=True)
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(tensors.items(), found, strict=True)
    }
