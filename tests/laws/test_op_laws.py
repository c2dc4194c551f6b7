"""What must hold for every implementation of every operation, whatever the numbers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.ops.cases import (
    LAW,
    QUICK_LAW,
    draw_case,
    draw_mask,
    forms,
    gradients,
    lengths,
    named,
    reference_of,
    run,
    run_steps,
    seeds,
)
from tests.tolerances import FORMS, NEIGHBORS, assert_all_close, assert_close
from tests.tolerances import assert_gradients_close as assert_same_gradients

EXACT = FORMS[torch.float64]
dtypes = st.sampled_from((torch.float64, torch.float32))


def join(first, second, axis):
    """Puts two outputs one after the other, with the state of the second."""
    return torch.cat((first[0], second[0]), dim=axis), second[1]


def counted(outputs, valid, axis):
    """Takes, of the first row, the outputs of the steps that count."""
    return outputs.index_select(axis, valid[0].nonzero()[:, 0])


@pytest.mark.parametrize(**forms())
@LAW
@given(seed=seeds, length=lengths, warm=st.booleans(), dtype=dtypes)
def test_forward_equals_repeated_step(flavor, form, seed, length, warm, dtype):
    case = draw_case(flavor, seed, 2, length, warm=warm, dtype=dtype)
    tolerance = FORMS[dtype].outputs
    assert_all_close(named(run(form, case)), named(run_steps(form, case)), tolerance)


@pytest.mark.parametrize(**forms(reference=False))
@LAW
@given(
    seed=seeds,
    length=lengths,
    warm=st.booleans(),
    resets=st.sampled_from((None, 0.1, 0.5)),
    padding=st.sampled_from((None, 0.3, 0.8)),
    dtype=dtypes,
)
def test_form_equals_the_reference(flavor, form, seed, length, warm, resets, padding, dtype):
    case = draw_case(flavor, seed, 3, length, warm=warm, dtype=dtype)
    reset = None if resets is None else draw_mask(seed, 3, length, resets)
    valid = None if padding is None else ~draw_mask(seed + 1, 3, length, padding)
    reference = reference_of(flavor)
    ours, theirs = run(form, case, reset, valid), run(reference, case, reset, valid)
    assert_all_close(named(ours), named(theirs), FORMS[dtype].outputs)
    assert_same_gradients(
        gradients(lambda leaves: run(form, leaves, reset, valid), case),
        gradients(lambda leaves: run(reference, leaves, reset, valid), case),
        FORMS[dtype].gradients,
    )


@pytest.mark.parametrize(**forms())
@LAW
@given(seed=seeds, length=st.integers(2, 40), data=st.data(), masked=st.booleans())
def test_sequence_can_be_split_anywhere(flavor, form, seed, length, data, masked):
    case = draw_case(flavor, seed, 2, length)
    cut = data.draw(st.integers(0, length))
    reset = draw_mask(seed, 2, length, 0.2) if masked else torch.zeros(2, length).bool()
    valid = ~draw_mask(seed + 1, 2, length, 0.2) if masked else torch.ones(2, length).bool()

    def in_two(whole):
        first = run(form, whole.span(0, cut), reset[:, :cut], valid[:, :cut])
        rest = whole.span(cut, length).starting_from(first[1])
        return join(first, run(form, rest, reset[:, cut:], valid[:, cut:]), flavor.time_axis)

    def at_once(whole):
        return run(form, whole, reset, valid)

    assert_all_close(named(in_two(case)), named(at_once(case)), EXACT.outputs)
    assert_same_gradients(gradients(in_two, case), gradients(at_once, case), EXACT.gradients)


@pytest.mark.parametrize(**forms())
@QUICK_LAW
@given(seed=seeds, length=st.integers(2, 40), data=st.data())
def test_future_does_not_change_past(flavor, form, seed, length, data):
    case = draw_case(flavor, seed, 2, length)
    cut = data.draw(st.integers(1, length - 1))
    other = draw_case(flavor, seed + 1, 2, length)
    axis = flavor.time_axis
    pairs = zip(case.span(0, cut).inputs, other.span(cut, length).inputs, strict=True)
    changed = case.fed(*(torch.cat(pair, dim=axis) for pair in pairs))
    past = run(form, case)[0].narrow(axis, 0, cut)
    assert_close(run(form, changed)[0].narrow(axis, 0, cut), past, EXACT.outputs)


@pytest.mark.parametrize(**forms())
@LAW
@given(
    seed=seeds,
    length=lengths,
    kept=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    masked=st.booleans(),
)
def test_batch_rows_are_independent(flavor, form, seed, length, kept, masked):
    """Rows are left out, repeated and put in another order."""
    case = draw_case(flavor, seed, 5, length, dtype=torch.float32)
    reset = draw_mask(seed, 5, length, 0.2) if masked else None
    valid = ~draw_mask(seed + 1, 5, length, 0.2) if masked else None
    whole = named(run(form, case, reset, valid))
    some = run(
        form,
        case.rows(kept),
        None if reset is None else reset[kept],
        None if valid is None else valid[kept],
    )
    assert_all_close(named(some), {name: x[kept] for name, x in whole.items()}, NEIGHBORS)


@pytest.mark.parametrize(**forms())
@QUICK_LAW
@given(seed=seeds, length=lengths)
def test_fresh_row_does_not_notice_an_old_neighbor(flavor, form, seed, length):
    old = draw_case(flavor, seed, 2, length, dtype=torch.float32)
    fresh = old.empty_state()
    mixed = type(fresh)(*(torch.stack((x[0], y[1])) for x, y in zip(old.state, fresh, strict=True)))
    together = named(run(form, old.starting_from(mixed)))
    alone = named(run(form, old.starting_from(fresh).rows([1])))
    assert_all_close({name: x[1:] for name, x in together.items()}, alone, NEIGHBORS)


@pytest.mark.parametrize(**forms())
@LAW
@given(seed=seeds, length=lengths, data=st.data())
def test_reset_forgets_everything(flavor, form, seed, length, data):
    case = draw_case(flavor, seed, 2, length)
    at = data.draw(st.integers(0, length - 1))
    reset = torch.zeros(2, length, dtype=torch.bool)
    reset[:, at] = True

    def after(whole):
        y, state = run(form, whole, reset)
        return y.narrow(flavor.time_axis, at, length - at), state

    rest = case.span(at, length).starting_from(case.empty_state())
    assert_all_close(named(after(case)), named(run(form, rest)), EXACT.outputs)
    found = gradients(after, case)
    for name in case.state._fields:
        assert not found[f"initial {name}"].any()


@pytest.mark.parametrize(**forms())
@LAW
@given(
    seed=seeds,
    length=lengths,
    left=st.integers(0, 5),
    right=st.integers(0, 5),
    gaps=st.booleans(),
    warm=st.booleans(),
)
def test_padding_changes_nothing(flavor, form, seed, length, left, right, gaps, warm):
    """Left, right and in between; whatever the padded numbers are."""
    total = left + length + right
    case = draw_case(flavor, seed, 1, total, warm=warm)
    valid = torch.zeros(1, total, dtype=torch.bool)
    valid[:, left : left + length] = True
    if gaps:
        valid &= ~draw_mask(seed, 1, total, 0.4)
    steps = valid[0].nonzero()[:, 0]

    def padded(whole):
        y, state = run(form, whole, None, valid)
        return counted(y, valid, flavor.time_axis), state

    def dense(whole):
        return run(form, whole.steps(steps))

    assert_all_close(named(padded(case)), named(dense(case)), EXACT.outputs)
    assert_same_gradients(gradients(padded, case), gradients(dense, case), EXACT.gradients)
    hidden = run(form, case, None, valid)[0].index_select(
        flavor.time_axis, (~valid[0]).nonzero()[:, 0]
    )
    assert not hidden.any()


@pytest.mark.parametrize(**forms())
@QUICK_LAW
@given(seed=seeds, length=lengths, reset_at=st.integers(0, 39))
def test_reset_of_a_padded_step_counts(flavor, form, seed, length, reset_at):
    case = draw_case(flavor, seed, 1, length)
    reset = torch.zeros(1, length, dtype=torch.bool)
    reset[:, reset_at % length] = True
    y, state = run(form, case, reset, torch.zeros(1, length, dtype=torch.bool))
    assert not y.any()
    for ours, empty in zip(state, case.empty_state(), strict=True):
        assert torch.equal(ours, empty)


@pytest.mark.parametrize(**forms())
@QUICK_LAW
@given(seed=seeds, length=st.integers(0, 20), masked=st.booleans())
def test_inputs_and_state_are_not_modified(flavor, form, seed, length, masked):
    case = draw_case(flavor, seed, 2, length)
    reset = draw_mask(seed, 2, length, 0.3) if masked else None
    valid = draw_mask(seed + 1, 2, length, 0.7) if masked else None
    before = {name: x.clone() for name, x in case.leaves().items()}
    run(form, case, reset, valid)
    if length:
        run_steps(form, case)
    for name, tensor in case.leaves().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(**forms())
@QUICK_LAW
@given(seed=seeds)
def test_no_steps_change_nothing(flavor, form, seed):
    case = draw_case(flavor, seed, 2, 0)
    y, state = run(form, case)
    assert y.shape == run(reference_of(flavor), case)[0].shape
    assert y.shape[flavor.time_axis] == 0
    for ours, given_ in zip(state, case.state, strict=True):
        assert torch.equal(ours, given_)


@pytest.mark.parametrize(**forms(ops=("mlstm", "slstm")))
@LAW
@given(
    seed=seeds,
    length=lengths,
    warm=st.booleans(),
    masked=st.booleans(),
    silent=st.booleans(),
    dtype=dtypes,
)
def test_extreme_gates_stay_finite(flavor, form, seed, length, warm, masked, silent, dtype):
    """Outputs, state and gradients; `silent` inputs leave nothing but the gates."""
    case = draw_case(flavor, seed, 2, length, warm=warm, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    choices = torch.tensor([-1e4, 1e4, 0.0, 1.0], dtype=dtype)

    def extreme(x):
        return choices[torch.randint(4, x.shape, generator=generator)]

    if flavor.op == "slstm":
        case = case.fed(extreme(case.inputs[0]))
    else:
        content = (0.0 * x if silent else x for x in case.inputs[:3])
        case = case.fed(*content, *map(extreme, case.inputs[3:]))
    reset = draw_mask(seed, 2, length, 0.2) if masked else None
    valid = ~draw_mask(seed + 1, 2, length, 0.2) if masked else None
    for name, tensor in named(run(form, case, reset, valid)).items():
        assert tensor.isfinite().all(), name
    for name, tensor in gradients(lambda leaves: run(form, leaves, reset, valid), case).items():
        assert tensor.isfinite().all(), f"gradient of {name}"


@pytest.mark.parametrize(**forms(reference=False, ops=("mlstm", "slstm")))
@LAW
@given(seed=seeds, length=st.integers(1, 20), cut=st.integers(0, 20))
def test_ties_of_the_stabilizer_have_one_gradient(flavor, form, seed, length, cut):
    """Saturated forget gates and equal input gates tie in every step."""
    case = draw_case(flavor, seed, 2, length)
    generator = torch.Generator().manual_seed(seed)

    def tied(x):
        return torch.randint(-1, 2, x.shape, generator=generator).double()

    if flavor.op == "slstm":
        preacts = case.inputs[0].clone()
        preacts[:, :, 0] = tied(preacts[:, :, 0])
        preacts[:, :, 1] = 0.0 if flavor.name == "slstm-exp" else 1e4
        case = case.fed(preacts).mapped(lambda x: x if x.dim() != 4 else 0.0 * x)
    else:
        i, f = case.inputs[3:]
        case = case.fed(*case.inputs[:3], tied(i), torch.full_like(f, 1e4))
    cut = min(cut, length)

    def in_two(whole):
        first = run(form, whole.span(0, cut))
        rest = run(form, whole.span(cut, length).starting_from(first[1]))
        return join(first, rest, flavor.time_axis)

    expected = gradients(lambda leaves: run(reference_of(flavor), leaves), case)
    assert_same_gradients(gradients(in_two, case), expected, EXACT.gradients)


@pytest.mark.parametrize(**forms(only="chunkwise"))
@LAW
@given(seed=seeds, length=st.integers(1, 70), chunk=st.integers(1, 80), masked=st.booleans())
def test_chunk_length_does_not_matter(flavor, form, seed, length, chunk, masked):
    case = draw_case(flavor, seed, 2, length)
    reset = draw_mask(seed, 2, length, 0.1) if masked else None
    valid = ~draw_mask(seed + 1, 2, length, 0.1) if masked else None

    def chunked(leaves):
        return run(form, leaves, reset, valid, chunk_length=chunk)

    def usual(leaves):
        return run(form, leaves, reset, valid)

    assert_all_close(named(chunked(case)), named(usual(case)), EXACT.outputs)
    assert_same_gradients(gradients(chunked, case), gradients(usual, case), EXACT.gradients)
