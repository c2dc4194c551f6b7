"""How far two forms of one function may lie apart: the only place where tolerances live.

Distances are relative to the largest number of the expected tensor. They bound what another order
of summation does; they never cover for another function.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Bounds for outputs and states, and for gradients."""

    outputs: float
    gradients: float


FORMS = {
    torch.float64: Tolerance(outputs=1e-12, gradients=1e-10),
    torch.float32: Tolerance(outputs=1e-5, gradients=1e-5),
}

# Another batch size lets the matrix library sum in another order, nothing else.
NEIGHBORS = 1e-6

# Two chains of products with factors rounded to bfloat16 (half a unit in the last place is 2^-9).
ROUNDED = 4e-3

# Plain NumPy with `exp` where the ops say `logsigmoid`, and gradients by complex steps.
GOLDEN = Tolerance(outputs=1e-12, gradients=1e-10)

# Gradients that are zero in exact arithmetic (of a query in a memory of one key, say) come out as
# the rounding of the others, so they are measured against a part of the largest of all.
VANISHING = 0.1


def distance(actual, expected, floor=0.0):
    """Gives the largest difference relative to the largest expected number, or to the floor."""
    assert actual.shape == expected.shape, f"{tuple(actual.shape)} is not {tuple(expected.shape)}"
    assert actual.dtype == expected.dtype, f"{actual.dtype} is not {expected.dtype}"
    if expected.numel() == 0:
        return 0.0
    scale = max(expected.abs().max().item(), floor)
    error = (actual - expected).abs().max().item()
    return error / scale if scale > 0.0 else error


def assert_close(actual, expected, tolerance, name="", floor=0.0):
    """Fails where two tensors lie further apart than the tolerance."""
    error = distance(actual, expected, floor)
    assert error <= tolerance, f"{name} differs by {error:.2e}, more than {tolerance:.0e}"


def assert_all_close(actual, expected, tolerance):
    """Compares outputs and states by name."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_close(actual[name], tensor, tolerance, name)


def assert_gradients_close(actual, expected, tolerance):
    """Compares all gradients of one problem by name."""
    assert actual.keys() == expected.keys()
    largest = max(tensor.abs().max().item() for tensor in expected.values() if tensor.numel())
    for name, tensor in expected.items():
        assert_close(actual[name], tensor, tolerance, f"gradient of {name}", VANISHING * largest)
