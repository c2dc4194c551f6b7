"""The linear map: every form is torch's own, with gradients."""

from importlib import import_module

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.cases import LAW
from tests.tolerances import FORMS, assert_close
from xlstmd.ops.linear import IMPLEMENTATIONS
from xlstmd.ops.native import load_native

FORM = import_module(IMPLEMENTATIONS[0].module)

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)


def run(function, tensors, weigh):
    """Gives output and gradients of all inputs."""
    leaves = [x if x is None else x.clone().requires_grad_() for x in tensors]
    y = function(*leaves)
    wanted = [x for x in leaves if x is not None]
    return [y.detach(), *torch.autograd.grad((weigh * y).sum(), wanted)]


@LAW
@given(
    rows=st.lists(st.integers(0, 40), min_size=0, max_size=2),
    inputs=st.integers(1, 90),
    outputs=st.integers(1, 140),
    bias=st.booleans(),
    dtype=st.sampled_from((torch.float32, torch.float64)),
    turned=st.booleans(),
)
def test_native_equals_torch(rows, inputs, outputs, bias, dtype, turned):
    generator = torch.Generator().manual_seed(inputs)
    x = torch.randn(*rows, inputs, generator=generator, dtype=dtype)
    if turned and x.dim() == 3:
        x = x.transpose(0, 1)
    weight = torch.randn(outputs, inputs, generator=generator, dtype=dtype)
    added = torch.randn(outputs, generator=generator, dtype=dtype) if bias else None
    weigh = torch.randn(*x.shape[:-1], outputs, generator=generator, dtype=dtype)
    ours = run(FORM.sequence, (x, weight, added), weigh)
    theirs = run(torch.nn.functional.linear, (x, weight, added), weigh)
    for actual, expected in zip(ours, theirs, strict=True):
        assert_close(actual, expected, FORMS[dtype].outputs)


def test_gradients_are_the_slopes():
    tensors = [torch.randn(*shape, dtype=torch.float64) for shape in ((3, 2, 5), (4, 5), (4,))]
    leaves = [x.requires_grad_() for x in tensors]
    torch.autograd.gradcheck(FORM.sequence, leaves)


def test_another_dtype_is_left_to_torch():
    x, weight = torch.randn(3, 5).bfloat16(), torch.randn(4, 5).bfloat16()
    assert torch.equal(FORM.sequence(x, weight, None), torch.nn.functional.linear(x, weight))
