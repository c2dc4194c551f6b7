"""Functions of single numbers, over all of float32, against NumPy and SciPy in float64."""

import numpy as np
import pytest
from scipy import special

from tests.native.libraries import every_level

LEVELS = every_level()
SMALLEST_NORMAL = 2.0**-126
SMALLEST = 2.0**-149

# Place in `xlstmd_function`, the exact function, and the largest error in units of the last place.
EXACT = {
    "exp": (0, np.exp, 1.5),
    "log": (1, np.log, 2.5),
    "sigmoid": (2, special.expit, 3.0),
    "tanh": (3, np.tanh, 1.5),
    "logsigmoid": (4, special.log_expit, 3.5),
    "silu": (5, lambda x: x * special.expit(x), 6.0),
    "gelu": (6, lambda x: 0.5 * x * special.erfc(-x * np.sqrt(0.5)), 10.0),
}
SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e4, -1e4, 1e30, -1e30], np.float32)


def numbers():
    """Gives dense ranges, every size down to the last subnormal, and random bit patterns."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 400_000, dtype=np.uint64).astype(np.uint32)
    sizes = 10.0 ** rng.uniform(-46, 5, 200_000)
    parts = (
        np.linspace(-120, 120, 400_001),
        np.linspace(-1, 1, 200_001),
        np.linspace(0.3, 3, 200_001),
        rng.normal(size=200_000),
        sizes * rng.choice((-1, 1), sizes.shape),
    )
    return np.concatenate([*(part.astype(np.float32) for part in parts), bits.view(np.float32)])


def applied(library, place, x):
    y = np.full_like(x, 123.0)
    library.xlstmd_map_f32(place, x.size, x.ctypes.data, y.ctypes.data)
    return y


def exact(function, x):
    with np.errstate(all="ignore"):
        return function(x.astype(np.float64))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(**LEVELS)
def test_error_is_a_few_units_in_the_last_place(library, name):
    place, function, bound = EXACT[name]
    x = numbers()
    x = x[np.isfinite(x)]
    actual, expected = applied(library, place, x), exact(function, x)
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(actual[~finite], rounded[~finite])
    unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    error = np.abs(actual[finite].astype(np.float64) - expected[finite]) / unit
    worst = error.argmax()
    assert error[worst] <= bound, f"{name}({x[finite][worst]!r}): {error[worst]:.2f} units"


@pytest.mark.parametrize(**LEVELS)
def test_numbers_at_the_ends(library):
    inf, nan = np.inf, np.nan
    expected = {
        "exp": [1, 1, inf, 0, nan, inf, 0, inf, 0],
        "log": [-inf, -inf, inf, nan, nan, np.log(1e4), nan, np.log(1e30), nan],
        "sigmoid": [0.5, 0.5, 1, 0, nan, 1, 0, 1, 0],
        "tanh": [0, 0, 1, -1, nan, 1, -1, 1, -1],
        "logsigmoid": [-np.log(2), -np.log(2), 0, -inf, nan, 0, -1e4, 0, -1e30],
        "silu": [0, 0, inf, 0, nan, 1e4, 0, 1e30, 0],
        "gelu": [0, 0, inf, 0, nan, 1e4, 0, 1e30, 0],
    }
    for name, (place, _, _) in EXACT.items():
        actual = applied(library, place, SPECIAL)
        np.testing.assert_allclose(actual, expected[name], rtol=3e-7, err_msg=name)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize(**LEVELS)
def test_nan_stays_and_nothing_else_becomes_one(library, name):
    place, function, _ = EXACT[name]
    x = np.random.default_rng(1).integers(0x7F800000, 0x80000000, 1000).astype(np.uint32)
    x = np.concatenate([x, x | 0x80000000]).view(np.float32)
    assert np.isnan(x).sum() > 1900
    assert np.isnan(applied(library, place, x)[np.isnan(x)]).all()
    x = numbers()
    undefined = np.isnan(exact(function, x)) & np.isfinite(x)
    found = np.isnan(applied(library, place, x)) & np.isfinite(x)
    np.testing.assert_array_equal(found, undefined)


@pytest.mark.parametrize(**LEVELS)
def test_subnormals_are_numbers_like_others(library):
    x = np.array([SMALLEST, 3 * SMALLEST, SMALLEST_NORMAL / 2, SMALLEST_NORMAL], np.float32)
    np.testing.assert_allclose(applied(library, 1, x), np.log(x.astype(np.float64)), rtol=1e-6)
    for name in ("tanh", "silu", "gelu"):
        factor = 1.0 if name == "tanh" else 0.5
        for signed in (x, -x):
            y = applied(library, EXACT[name][0], signed)
            assert np.abs(y - factor * signed.astype(np.float64)).max() <= SMALLEST
    deep = np.array([-88, -100, -103], np.float32)
    assert (applied(library, 0, deep) > 0).all()


@pytest.mark.parametrize(**LEVELS)
def test_odd_functions_are_odd_bit_by_bit(library):
    x = np.abs(numbers())
    x = x[np.isfinite(x)]
    y, turned = applied(library, 3, x), applied(library, 3, -x)
    np.testing.assert_array_equal(y.view(np.uint32) ^ 0x80000000, turned.view(np.uint32))


@pytest.mark.parametrize(**LEVELS)
def test_result_depends_on_the_number_alone(library):
    """Whatever its place in the array, whatever the array's length; in place too."""
    x = np.linspace(-9, 9, 97).astype(np.float32)
    for place, _, _ in EXACT.values():
        whole = applied(library, place, x)
        for first, count in ((0, 1), (1, 7), (5, 33), (96, 1)):
            part = np.full(count + 2, 7.0, np.float32)
            part[1:-1] = x[first : first + count]
            inner = part[1:-1]
            library.xlstmd_map_f32(place, count, inner.ctypes.data, inner.ctypes.data)
            np.testing.assert_array_equal(inner, whole[first : first + count])
            assert part[0] == part[-1] == 7.0
