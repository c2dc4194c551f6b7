"""Every implementation against the definition of its operation, at the lengths that matter."""

import pytest
import torch

from tests.ops.cases import draw_case, draw_mask, forms, gradients, named, reference_of, run
from tests.tolerances import FORMS, assert_all_close, assert_gradients_close

LENGTHS = (1, 2, 63, 64, 65, 1000)
# The quadratic form holds T x T numbers per head.
LONGEST_PARALLEL = 200


def length_of(form, length):
    """Shortens a long sequence for the quadratic form."""
    quadratic = form.__name__.endswith("parallel")
    return min(length, LONGEST_PARALLEL) if quadratic else length


@pytest.mark.parametrize("dtype", FORMS, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(**forms(reference=False))
def test_outputs_and_state_equal_the_reference(flavor, form, length, dtype):
    length = length_of(form, length)
    case = draw_case(flavor, length, 2, length, dtype=dtype, warm=length % 2 == 0)
    with torch.no_grad():
        ours, theirs = run(form, case), run(reference_of(flavor), case)
    assert_all_close(named(ours), named(theirs), FORMS[dtype].outputs)


@pytest.mark.parametrize(
    ("length", "masked"), [*((n, False) for n in LENGTHS), (63, True), (64, True), (150, True)]
)
@pytest.mark.parametrize(**forms(reference=False))
def test_gradients_equal_the_reference(flavor, form, length, masked):
    length = length_of(form, length)
    case = draw_case(flavor, length + 1, 2, length)
    reset = draw_mask(length, 2, length, 0.02) if masked else None
    valid = ~draw_mask(length + 1, 2, length, 0.1) if masked else None
    assert_gradients_close(
        gradients(lambda leaves: run(form, leaves, reset, valid), case),
        gradients(lambda leaves: run(reference_of(flavor), leaves, reset, valid), case),
        FORMS[torch.float64].gradients,
    )


@pytest.mark.parametrize(("warm", "masked"), [(False, False), (True, True)])
@pytest.mark.parametrize(**forms())
def test_gradients_are_the_slopes(flavor, form, warm, masked):
    """Autograd against finite differences: inputs, weights and state to outputs and state."""
    length = 4
    case = draw_case(flavor, 5, 2, length, warm=warm).attached()
    reset = torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0]]).bool() if masked else None
    valid = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1]]).bool() if masked else None
    leaves = list(case.leaves().values())

    def outputs(*tensors):
        given = dict(zip(map(id, leaves), tensors, strict=True))
        return tuple(named(run(form, case.mapped(lambda x: given[id(x)]), reset, valid)).values())

    torch.autograd.gradcheck(outputs, leaves, fast_mode=False)


@pytest.mark.parametrize(**forms())
def test_form_offers_the_shared_signature(flavor, form):
    case = draw_case(flavor, 0, 2, 3)
    state = form.init(2, *sizes(flavor), dtype=torch.float64)
    y, after = run(form, case.starting_from(state))
    assert y.shape == run(reference_of(flavor), case)[0].shape
    assert type(after) is type(state)
    for tensor, before in zip(after, state, strict=True):
        assert tensor.shape == before.shape
        assert tensor.dtype == before.dtype


@pytest.mark.parametrize(**forms())
def test_state_is_float32_unless_asked_otherwise(flavor, form):
    assert {tensor.dtype for tensor in form.init(1, *sizes(flavor))} == {torch.float32}


def sizes(flavor):
    """Gives the arguments of `init` after the batch size."""
    if flavor.op == "mlstm":
        return 2, flavor.widths["K"], flavor.widths["V"]
    return (2, 3) if flavor.op == "slstm" else (flavor.widths["W"], 3)
