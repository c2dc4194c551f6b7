"""What the options and the heads of the scalar memory mean."""

import pytest
import torch

from tests.ops.cases import draw_case, forms, run

SLSTM = forms(ops=("slstm",))


@pytest.mark.parametrize(**SLSTM)
def test_first_output_is_the_gated_cell_input(flavor, form):
    case = draw_case(flavor, 0, 2, 1, warm=False)
    _, _, z, o = case.inputs[0][:, 0].unbind(1)
    expected = torch.sigmoid(o) * torch.tanh(z)
    torch.testing.assert_close(run(form, case)[0][:, 0], expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(**SLSTM)
def test_heads_never_mix(flavor, form):
    case = draw_case(flavor, 0, 2, 6)
    other = draw_case(flavor, 1, 2, 6)
    preacts = case.inputs[0].clone()
    preacts[:, :, :, 1] = other.inputs[0][:, :, :, 1]
    before, after = run(form, case)[0], run(form, case.fed(preacts))[0]
    torch.testing.assert_close(before[:, :, 0], after[:, :, 0], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before[:, :, 1], after[:, :, 1])


@pytest.mark.parametrize(**SLSTM)
def test_normalizer_never_falls_below_one(flavor, form):
    case = draw_case(flavor, 0, 2, 50, warm=False)
    for length in (1, 2, 10, 50):
        assert run(form, case.span(0, length))[1].normalizer.min() >= 1.0


@pytest.mark.parametrize(**SLSTM)
def test_each_gate_is_driven_by_its_own_preactivation(flavor, form):
    """Only the input gate written open, then only the forget gate, and so on."""
    case = draw_case(flavor, 0, 1, 1).mapped(lambda x: x if x.dim() != 4 else 0.0 * x)
    _, c, n, _ = case.state
    far = 1.5 if flavor.options.gate_soft_cap else 40.0

    def cell_over_normalizer(gate, value):
        preacts = torch.zeros_like(case.inputs[0])
        preacts[:, :, 2] = 0.3
        preacts[:, :, gate] = value
        y, state = run(form, case.fed(preacts))
        return y[:, 0], state.cell / state.normalizer

    plain = cell_over_normalizer(2, 0.3)[1]
    taken, kept = torch.tensor(0.3).tanh(), c / n
    assert ((cell_over_normalizer(0, far)[1] - taken).abs() < (plain - taken).abs()).all()
    if flavor.options.forget_gate == "exp":
        assert ((cell_over_normalizer(1, far)[1] - kept).abs() < (plain - kept).abs()).all()
    else:
        assert ((cell_over_normalizer(1, -far)[1] - taken).abs() < (plain - taken).abs()).all()
    assert torch.equal(cell_over_normalizer(3, far)[1], plain)
    assert not cell_over_normalizer(3, -1e4)[0].any()
