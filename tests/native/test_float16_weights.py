"""Weights that float16 holds exactly are kept shorter, and no product differs for it."""

import numpy as np
import pytest

from xlstmd.ops.native import load_native

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)


@pytest.mark.parametrize("outputs", [1, 15, 16, 33, 64, 200])
@pytest.mark.parametrize("rows", [1, 2, 5, 7, 100])
def test_products_are_those_of_weights_that_are_kept_long(outputs, rows):
    from xlstmd.ops.native_linear import PackedLinear

    rng = np.random.default_rng(outputs)
    weights = rng.normal(size=(outputs, 37)).astype(np.float16).astype(np.float32)
    # Zeros of both signs, the smallest and the largest of float16.
    weights.flat[:5] = (0.0, -0.0, 2.0**-24, -65504.0, 6e-5)
    weights = weights.astype(np.float16).astype(np.float32)
    x = rng.normal(size=(rows, 37)).astype(np.float32)
    # One more output, far from float16, has all of them kept long.
    long = np.concatenate([weights, np.full((1, 37), 1e-9, dtype=np.float32)])
    short = PackedLinear(weights)(x)
    np.testing.assert_array_equal(short, PackedLinear(long)(x)[:, :outputs])
    np.testing.assert_allclose(short, x @ weights.T, rtol=1e-4, atol=1e-3)
