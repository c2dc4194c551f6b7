"""Operations without memory: the native form of each is its definition, with gradients."""

import os
import signal
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.ops.cases import LAW
from tests.tolerances import FORMS, ROUNDED, assert_close
from xlstmd.errors import ShapeError
from xlstmd.ops import feedforward, headwise, linear, norm
from xlstmd.ops.native import load_native

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)

NORM, HEADWISE, FEEDFORWARD, LINEAR = (
    tuple(import_module(form.module).sequence for form in op.IMPLEMENTATIONS)
    for op in (norm, headwise, feedforward, linear)
)

DTYPES = st.sampled_from((torch.float32, torch.float64))
ROWS = st.lists(st.integers(0, 70), min_size=0, max_size=2)


class Draw:
    """Tensors with gradients from one seed."""

    def __init__(self, seed, dtype):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        self.leaves = []

    def tensor(self, *shape, scale=1.0):
        x = torch.randn(*shape, generator=self.generator, dtype=self.dtype) * scale
        self.leaves.append(x.requires_grad_())
        return x

    def compare(self, ours, theirs):
        """Compares two outputs and the gradients of everything drawn."""
        weigh = torch.randn(theirs.shape, generator=self.generator, dtype=self.dtype)
        # A plain sum's gradient is one number seen many times: no tensor of its own.
        for factor in (weigh, 1.0):
            both = [
                [
                    out.detach(),
                    *torch.autograd.grad((factor * out).sum(), self.leaves, retain_graph=True),
                ]
                for out in (ours, theirs)
            ]
            for actual, expected in zip(*both, strict=True):
                assert_close(actual, expected, FORMS[self.dtype].outputs)


@LAW
@given(
    rows=ROWS,
    groups=st.integers(0, 3),
    units=st.integers(1, 70),
    centered=st.booleans(),
    dtype=DTYPES,
)
def test_norm(rows, groups, units, centered, dtype):
    draw = Draw(units, dtype)
    axes = (groups, units) if groups else (units,)
    # Nearly equal units would blow up rounding in both forms.
    x, weight = draw.tensor(*rows, *axes), draw.tensor(*axes)
    ours, theirs = (form(x, weight, 1e-2, centered=centered) for form in NORM)
    draw.compare(ours, theirs)


@LAW
@given(
    rows=ROWS,
    groups=st.integers(1, 4),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 70),
    sources=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    has_bias=st.booleans(),
    dtype=DTYPES,
)
def test_headwise(rows, groups, inputs, outputs, sources, has_bias, dtype):
    draw = Draw(inputs, dtype)
    distinct = {source: draw.tensor(*rows, groups * inputs) for source in set(sources)}
    weights = [draw.tensor(groups, inputs, outputs) for _ in sources]
    bias = draw.tensor(len(sources), groups, outputs) if has_bias else None
    xs = [distinct[source] for source in sources]
    draw.compare(*(form(xs, weights, bias) for form in HEADWISE))


@LAW
@given(
    rows=ROWS,
    width=st.integers(1, 70),
    hidden=st.integers(1, 150),
    activation=st.sampled_from(("silu", "gelu")),
    dtype=DTYPES,
)
def test_feedforward(rows, width, hidden, activation, dtype):
    draw = Draw(width, dtype)
    x = draw.tensor(*rows, width)
    maps = ((hidden, width), (hidden, width), (width, hidden))
    weights = [draw.tensor(*shape, scale=shape[1] ** -0.5) for shape in maps]
    draw.compare(*(form(x, *weights, activation) for form in FEEDFORWARD))
    with torch.no_grad():
        plain, kept = (
            FEEDFORWARD[0](x, *weights, activation),
            FEEDFORWARD[1](x, *weights, activation),
        )
    assert_close(plain, kept, FORMS[dtype].outputs)


@LAW
@given(
    rows=ROWS,
    inputs=st.integers(1, 90),
    outputs=st.integers(1, 140),
    bias=st.booleans(),
    dtype=DTYPES,
)
def test_rounded_products(rows, inputs, outputs, bias, dtype):
    draw = Draw(inputs, dtype)
    x, weight = draw.tensor(*rows, inputs), draw.tensor(outputs, inputs)
    added = draw.tensor(outputs) if bias else None
    draw.compare(*(form(x, weight, added, "bfloat16") for form in LINEAR))


@pytest.mark.parametrize("activation", ["silu", "gelu"])
@pytest.mark.parametrize("shape", [(70, 33, 65), (1, 2, 1), (97, 128, 384)])
def test_rounded_feedforward(shape, activation):
    rows, width, hidden = shape
    results = []
    for form in FEEDFORWARD:
        draw = Draw(hidden, torch.float32)
        maps = ((rows, width), (hidden, width), (hidden, width), (width, hidden))
        tensors = [draw.tensor(*each, scale=each[1] ** -0.5) for each in maps]
        y = form(*tensors, activation, "bfloat16")
        results.append([y.detach(), *torch.autograd.grad(y.square().sum(), tensors)])
    for actual, expected in zip(*results, strict=True):
        # What goes down is rounded after a sum of its own: a few numbers fall to the other side.
        assert_close(actual, expected, ROUNDED)


@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_activations_far_from_zero(activation):
    x = torch.tensor([[-1e4, -90.0, -30.0, -6.0, -1e-3, 0.0, 1e-3, 6.0, 30.0, 90.0, 1e4]]).T
    x.requires_grad_()
    one = torch.ones(1, 1)
    both = []
    for form in FEEDFORWARD:
        y = form(x, one, 1e-3 * one, one, activation)
        both.append((y.detach(), torch.autograd.grad(y.sum(), x)[0]))
    for actual, expected in zip(*both, strict=True):
        torch.testing.assert_close(actual, expected, rtol=2e-6, atol=1e-9)


def test_results_do_not_depend_on_threads_or_on_other_rows():
    draw = Draw(0, torch.float32)
    x, gate, up, down = (draw.tensor(*shape) for shape in ((300, 48), (96, 48), (96, 48), (48, 96)))
    weight = draw.tensor(4, 12)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            h = FEEDFORWARD[0](x, gate, up, down, "silu")
            y = NORM[0](h.unflatten(-1, (4, 12)), weight, 1e-6, centered=True)
            results.append([y, *torch.autograd.grad(y.square().sum(), draw.leaves)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))
    assert torch.equal(FEEDFORWARD[0](x[7:9], gate, up, down, "silu"), h[7:9])


def test_other_dtypes_are_left_to_torch():
    x, weight = torch.randn(3, 5).bfloat16(), torch.randn(5).bfloat16()
    ours, theirs = (form(x, weight, 1e-6, centered=True) for form in NORM)
    assert torch.equal(ours, theirs)


def test_what_does_not_fit_is_refused():
    x = torch.ones(3, 4)
    with pytest.raises(ShapeError, match="x"):
        NORM[0](x, torch.ones(5), 1e-6, centered=True)
    with pytest.raises(ShapeError, match="up"):
        FEEDFORWARD[0](x, torch.ones(6, 4), torch.ones(5, 4), torch.ones(4, 6), "silu")
    with pytest.raises(ShapeError, match="down"):
        FEEDFORWARD[0](x, torch.ones(6, 4), torch.ones(6, 4), torch.ones(4, 5), "silu")
    with pytest.raises(ShapeError, match=r"inputs\[1\]"):
        HEADWISE[0]([x, x[:2]], [torch.ones(2, 2, 3)] * 2, None)
    with pytest.raises(ShapeError, match=r"weights\[1\]"):
        HEADWISE[0]([x, x], [torch.ones(2, 2, 3), torch.ones(2, 3, 3)], None)
    with pytest.raises(ShapeError, match="bias"):
        HEADWISE[0]([x], [torch.ones(2, 2, 3)], torch.ones(1, 2, 4))


@pytest.mark.parametrize("inputs", [0, 3])
@pytest.mark.parametrize("outputs", [0, 2])
@pytest.mark.parametrize("products", ["float32", "bfloat16"])
def test_maps_without_inputs_or_outputs(inputs, outputs, products):
    draw = Draw(0, torch.float32)
    x, weight, bias = draw.tensor(4, inputs), draw.tensor(outputs, inputs), draw.tensor(outputs)
    draw.compare(*(form(x, weight, bias, products) for form in LINEAR))
    draw = Draw(0, torch.float32)
    x, weights = draw.tensor(4, 2 * inputs), [draw.tensor(2, inputs, outputs)]
    draw.compare(*(form([x], weights, draw.leaves[1].new_ones(1, 2, outputs)) for form in HEADWISE))


@pytest.mark.parametrize("width", [1, 96, 512, 768])
@pytest.mark.parametrize("level", [1.1, 1000.1, -3e5])
def test_a_norm_of_equal_units_is_nothing(width, level):
    x = torch.full((3, width), level)
    y = NORM[0](x, torch.ones(width), 1e-6, centered=True)
    assert y.abs().max() < 1e-3


def test_tensors_without_numbers_are_left_to_torch():
    with FakeTensorMode():
        x, weight = torch.randn(2, 5), torch.randn(4, 5)
        assert LINEAR[0](x, weight, None).shape == (2, 4)
        assert NORM[0](x, torch.randn(5), 1e-6, centered=True).shape == (2, 5)


def test_a_forked_process_computes_on_threads_of_its_own():
    x, weight = torch.randn(512, 512), torch.randn(512, 512)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        expected = LINEAR[0](x, weight, None)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            # Compared without torch, whose own threads do not follow into a fork either.
            same = np.array_equal(LINEAR[0](x, weight, None).numpy(), expected.numpy())
            os._exit(0 if same else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)
