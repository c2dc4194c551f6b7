"""What holds for prepared steps: they are map, step and map, to the bit, whatever the rows."""

import numpy as np
import pytest

from tests.laws.test_backbone_laws import CHOICES, WIDTH
from tests.laws.test_native_backbone_laws import make_pair
from xlstmd.errors import InputError, ShapeError
from xlstmd.nn.config import MLSTMBlockConfig, PreUpMLSTMBlockConfig, SLSTMBlockConfig
from xlstmd.nn.native_stepper import NativeStepper
from xlstmd.ops.native import load_native
from xlstmd.ops.native_linear import PackedLinear

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)

PRECISIONS = ("float32", "bfloat16", "int8")
INPUTS, OUTPUTS = 19, 7
STEPS = 3

# So wide that 64 rows are worth sharing.
WIDE = 128
WIDE_BLOCKS = (
    PreUpMLSTMBlockConfig(width=WIDE, num_heads=4),
    SLSTMBlockConfig(width=WIDE, num_heads=4),
    MLSTMBlockConfig(width=WIDE, num_heads=4),
)


def make_maps(width, **more):
    """Gives maps into and out of a backbone; the second one has no bias."""
    rng = np.random.default_rng(0)
    weights = (rng.normal(size=shape) for shape in ((width, INPUTS), (OUTPUTS, width)))
    into, out_of = (weight.astype(np.float32) for weight in weights)
    bias = rng.normal(size=width).astype(np.float32)
    return PackedLinear(into, bias, **more), PackedLinear(out_of, **more)


def draw_inputs(rows, inputs):
    return np.random.default_rng(1).normal(size=(STEPS, rows, inputs)).astype(np.float32)


def advance(stepper, x):
    """Runs steps in place; gives all outputs."""
    rows = x.shape[1]
    stepper.source[:rows] = stepper.target[:rows] = np.arange(rows)
    outputs = []
    for row in x:
        stepper.x[:rows] = row
        stepper.step(rows)
        outputs.append(stepper.y[:rows].copy())
    return np.stack(outputs)


def test_stepper_is_the_step():
    _, native = make_pair(CHOICES)
    rng = np.random.default_rng(4)
    arena = native.init_state(5)
    other = arena.copy()
    stepper = NativeStepper(native, arena, 4)
    for _ in range(STEPS):
        x = rng.normal(size=(3, WIDTH)).astype(np.float32)
        stepper.x[:3], stepper.source[:3], stepper.target[:3] = x, [4, 0, 2], [4, 1, 2]
        stepper.step(3)
        expected = native.step(x, other, np.array([4, 0, 2]), np.array([4, 1, 2]))
        np.testing.assert_array_equal(stepper.y[:3], expected)
        np.testing.assert_array_equal(arena, other)
    stepper.source[0] = 5
    with pytest.raises(InputError):
        stepper.step(1)
    with pytest.raises(InputError, match="rows"):
        stepper.step(5)
    np.testing.assert_array_equal(arena, other)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mapped", [(True, True), (True, False), (False, True)])
def test_maps_in_the_step_are_maps_around_it(precision, threads, mapped):
    _, native = make_pair((CHOICES[0], CHOICES[3], CHOICES[5]), precision=precision)
    maps = make_maps(WIDTH, precision=precision, threads=threads)
    into, out_of = (one if wanted else None for one, wanted in zip(maps, mapped, strict=True))
    for rows in (1, 2, 3, 5, 8, 13, 33, 64):
        arena, other = native.init_state(rows), native.init_state(rows)
        stepper = NativeStepper(native, arena, rows, input_map=into, output_map=out_of)
        x = draw_inputs(rows, WIDTH if into is None else INPUTS)
        actual = advance(stepper, x)
        slots = np.arange(rows)
        for row, given in zip(actual, x, strict=True):
            between = given if into is None else into(given)
            y = native.step(between, other, slots, slots)
            np.testing.assert_array_equal(row, y if out_of is None else out_of(y))
        np.testing.assert_array_equal(arena, other)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_neither_threads_nor_other_rows_change_a_bit(precision):
    """Of work that is shared among threads, and of work that is not."""
    results = []
    for threads in (1, 2, 3):
        _, native = make_pair(WIDE_BLOCKS, width=WIDE, precision=precision, threads=threads)
        into, out_of = make_maps(WIDE, precision=precision)
        for rows in (64, 33, 1):
            arena = native.init_state(rows)
            stepper = NativeStepper(native, arena, 64, input_map=into, output_map=out_of)
            results.append((advance(stepper, draw_inputs(64, INPUTS)[:, :rows]), arena))
    whole, states = results[0]
    for out, arena in results[1:]:
        np.testing.assert_array_equal(out, whole[:, : len(arena)])
        np.testing.assert_array_equal(arena, states[: len(arena)])


def test_maps_that_do_not_fit_are_refused():
    _, native = make_pair(CHOICES[:1])
    narrow = PackedLinear(np.ones((WIDTH - 1, WIDTH - 1), np.float32))
    with pytest.raises(ShapeError, match=f"input_map: expected {WIDTH} outputs"):
        NativeStepper(native, native.init_state(1), 1, input_map=narrow)
    with pytest.raises(ShapeError, match=f"output_map: expected {WIDTH} inputs"):
        NativeStepper(native, native.init_state(1), 1, output_map=narrow)
    with pytest.raises(ShapeError, match="arena"):
        NativeStepper(native, native.init_state(1)[:, 1:], 1)
