"""What the options and the denominator of the matrix memory mean."""

import math
from dataclasses import replace

import pytest
import torch

from tests.ops.cases import draw_case, forms, gradients, run
from xlstmd.errors import ShapeError
from xlstmd.ops.mlstm import reference
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.mlstm.stepper import MLSTMStepper
from xlstmd.ops.native import load_native
from xlstmd.ops.state import MLSTMState

MLSTM = forms(ops=("mlstm",))


def rerun(form, case, **options):
    """Runs a case under changed options."""
    flavor = replace(case.flavor, options=replace(case.flavor.options, **options))
    return run(form, replace(case, flavor=flavor))


@pytest.mark.parametrize(**MLSTM)
def test_first_output_is_the_value_weighed_by_its_key(flavor, form):
    case = draw_case(flavor, 0, 1, 1, warm=False)
    q, k, v, i, _ = case.inputs
    cap = flavor.options.gate_soft_cap
    take = torch.exp(i if cap is None else cap * torch.tanh(i / cap))
    match = take * (k * q).sum(-1) / math.sqrt(q.shape[-1])
    scale = match.abs().clamp(min=1.0)
    # An imported checkpoint adds eps in scaled units, where the denominator is about 1.
    expected = (match / scale).unsqueeze(-1) * v
    torch.testing.assert_close(run(form, case)[0], expected, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize(**MLSTM)
def test_eps_is_added_to_the_denominator(flavor, form):
    case = draw_case(flavor, 1, 2, 5)
    plain, damped = rerun(form, case, eps=0.0)[0], rerun(form, case, eps=0.5)[0]
    assert (damped.abs() < plain.abs()).all()
    assert torch.equal(damped.sign(), plain.sign())


@pytest.mark.parametrize(**MLSTM)
def test_stabilizer_start_changes_nothing_without_eps(flavor, form):
    case = draw_case(flavor, 1, 2, 30, warm=False)
    outputs = [
        rerun(form, case.starting_from(case.state._replace(stabilizer=start)), eps=0.0)[0]
        for start in (torch.zeros(2, 2).double(), torch.full((2, 2), -1e30).double())
    ]
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(**MLSTM)
def test_memory_is_the_same_in_any_units(flavor, form):
    """Adding to the stabilizer what is divided out of the memory changes no output."""
    case = draw_case(flavor, 1, 2, 30)
    C, n, m = case.state
    other = type(case.state)(C / math.e, n / math.e, m + 1.0)
    here, there = (rerun(form, case.starting_from(s), eps=0.0)[0] for s in (case.state, other))
    torch.testing.assert_close(here, there, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(**MLSTM)
def test_soft_cap_bounds_both_gates(flavor, form):
    case = draw_case(flavor, 1, 2, 5)
    far = case.fed(*case.inputs[:3], *(1e4 * gate.sign() for gate in case.inputs[3:]))
    bound = case.fed(*case.inputs[:3], *(0.5 * gate.sign() for gate in case.inputs[3:]))
    capped, plain = (
        rerun(form, far, gate_soft_cap=0.5)[0],
        rerun(form, bound, gate_soft_cap=None)[0],
    )
    torch.testing.assert_close(capped, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(**forms(ops=("mlstm",), without=("mlstm-capped",)))
def test_closed_forget_gate_equals_a_reset(flavor, form):
    """A capped gate never closes."""
    case = draw_case(flavor, 2, 2, 6)
    i, f = case.inputs[3:]
    f = f.clone()
    f[:, :, 3] = -torch.inf
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[:, 3] = True
    closed = run(form, case.fed(*case.inputs[:3], i, f))[0][:, :, 3:]
    expected = run(form, case, reset)[0][:, :, 3:]
    # With eps the outputs depend on the stabilizer, which a closed gate does not bring back to 0.
    torch.testing.assert_close(closed, expected, rtol=1e-4 if flavor.options.eps else 1e-10, atol=0)


@pytest.mark.parametrize(**MLSTM)
def test_gradient_of_the_normalizer_is_there(flavor, form):
    case = draw_case(flavor, 1, 2, 5)
    found = gradients(lambda leaves: run(form, leaves), case)
    assert found["initial normalizer"].abs().min() > 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_denominator_is_never_zero(dtype):
    m = torch.tensor([-1e30, -1e4, 0.0, 1e4], dtype=dtype, requires_grad=True)
    below = reference.denominator(torch.zeros_like(m), m, 0.0)
    assert (below > 0.0).all()
    assert below.isfinite().all()
    (slope,) = torch.autograd.grad((1.0 / below).sum(), m)
    assert slope.isfinite().all()


def test_default_options_are_ours():
    assert MLSTMOptions() == MLSTMOptions(eps=0.0, stabilizer_start=-1e30, gate_soft_cap=None)


@pytest.mark.skipif(load_native().library is None, reason=load_native().reason)
def test_steps_in_place_equal_the_steps():
    generator = torch.Generator().manual_seed(0)
    B, H, K, V = 3, 2, 5, 7
    options = MLSTMOptions(eps=1e-6, stabilizer_start=0.0)
    state = MLSTMState.zeros(B, H, K, V, stabilizer_start=0.0)
    stepper = MLSTMStepper(MLSTMState(*(part.clone() for part in state)), options)
    for _ in range(6):
        inputs = [torch.randn(B, H, width, generator=generator) for width in (K, K, V)]
        inputs += [torch.randn(B, H, generator=generator) for _ in range(2)]
        expected, state = reference.step(*inputs, state, options)
        torch.testing.assert_close(stepper.step(*inputs), expected, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(stepper.state, state, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match="input 2"):
        stepper.step(*inputs[:2], inputs[0], *inputs[3:])
