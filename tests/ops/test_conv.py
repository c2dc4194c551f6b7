"""The causal convolution against NumPy."""

import numpy as np
import pytest
import torch

from tests.ops.cases import draw_case, forms, run
from xlstmd.ops.state import ConvState


@pytest.mark.parametrize(**forms(ops=("conv",)))
def test_equals_numpy_convolution_unit_by_unit(flavor, form):
    case = draw_case(flavor, 3, 2, 9, warm=False)
    y, _ = run(form, case)
    weight, bias = case.weights
    for row in range(2):
        for unit in range(3):
            taps = weight[unit].flip(0).numpy()
            plain = np.convolve(case.inputs[0][row, :, unit].numpy(), taps)[:9]
            plain = plain + (0.0 if bias is None else bias[unit].item())
            np.testing.assert_allclose(y[row, :, unit].numpy(), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(**forms(ops=("conv",)))
def test_state_holds_the_last_inputs_oldest_first(flavor, form):
    case = draw_case(flavor, 3, 1, 9)
    kept = flavor.widths["W"] - 1
    _, state = run(form, case)
    assert torch.equal(state.window, case.inputs[0][:, 9 - kept :])


@pytest.mark.parametrize(**forms(ops=("conv",), only="vectorized"))
def test_state_does_not_hold_the_sequence_alive(flavor, form):
    case = draw_case(flavor, 3, 1, 500)
    _, state = run(form, case)
    assert state.window.untyped_storage().nbytes() == state.window.numel() * 8


def test_window_of_one_step_keeps_nothing():
    assert ConvState.zeros(2, 1, 3).window.numel() == 0
