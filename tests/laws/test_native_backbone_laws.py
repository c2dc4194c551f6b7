"""What holds for a backbone in the native library: it is the torch one, row by row, to the bit."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.laws.test_backbone_laws import CHOICES, HEADS, WIDTH
from xlstmd.errors import CheckpointError, InputError, ShapeError
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import BackboneConfig, FeedForwardConfig, MLSTMBlockConfig, SLSTMBlockConfig
from xlstmd.nn.native_backbone import NativeBackbone
from xlstmd.nn.parameters import parameter_shapes
from xlstmd.ops.native import load_native

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)

# Float32 sums in another order, through several blocks with norms in between.
CLOSE = 2e-5
# Largest error of an output by the spread of the outputs; see the tables of `make bench-cpu`.
SHORT = {"bfloat16": 6e-2, "int8": 8e-2}

MORE = (
    SLSTMBlockConfig(width=WIDTH, num_heads=1, norm="rms", norm_eps=1e-6, head_norm_eps=1e-5),
    MLSTMBlockConfig(
        width=WIDTH,
        num_heads=HEADS,
        stabilizer_start=0.0,
        eps=1e-6,
        feedforward=FeedForwardConfig(multiple_of=8, activation="gelu"),
    ),
)
stacks = st.lists(st.sampled_from(CHOICES + MORE), min_size=1, max_size=5)


def make_pair(blocks, seed=0, width=WIDTH, **more):
    """Gives a torch backbone with random weights, and the native one with the same."""
    torch.manual_seed(seed)
    config = BackboneConfig(width=width, blocks=tuple(blocks))
    backbone = Backbone(config).requires_grad_(False)
    for parameter in backbone.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    weights = {name: array.numpy() for name, array in backbone.state_dict().items()}
    return backbone, NativeBackbone(config, weights, **more)


def run_torch(backbone, x, state, valid=None, reset=None):
    """Gives outputs and flat states of the torch backbone."""
    masks = [None if mask is None else torch.from_numpy(mask) for mask in (reset, valid)]
    empty = backbone.init_state(1)
    out, after = backbone(torch.from_numpy(x), empty.from_flat(torch.from_numpy(state)), *masks)
    return out.numpy(), after.to_flat().numpy()


def warm_states(backbone, rows, rng):
    """Gives states in the middle of a stream."""
    x = rng.normal(size=(rows, 5, backbone.config.width)).astype(np.float32)
    return run_torch(backbone, x, backbone.init_state(rows).to_flat().numpy())[1]


def assert_close(actual, expected, tolerance=CLOSE):
    scale = max(np.abs(expected[np.abs(expected) < 1e29]).max(initial=0.0), 1.0)
    np.testing.assert_allclose(actual, expected, atol=tolerance * scale, rtol=tolerance)


def test_parameters_are_those_of_the_torch_backbone():
    blocks = CHOICES + MORE
    backbone, _ = make_pair(blocks)
    named = {name: tuple(array.shape) for name, array in backbone.state_dict().items()}
    assert parameter_shapes(backbone.config) == named


def test_empty_state_is_that_of_the_torch_backbone():
    backbone, native = make_pair(CHOICES + MORE)
    np.testing.assert_array_equal(native.init_state(3), backbone.init_state(3).to_flat().numpy())


@given(
    blocks=stacks,
    seed=st.integers(0, 999),
    rows=st.integers(1, 9),
    steps=st.integers(1, 70),
    masked=st.booleans(),
)
def test_native_equals_torch(blocks, seed, rows, steps, masked):
    backbone, native = make_pair(blocks, seed)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, steps, WIDTH)).astype(np.float32)
    state = warm_states(backbone, rows, rng)
    valid = rng.random((rows, steps)) < 0.7 if masked else None
    reset = rng.random((rows, steps)) < 0.1 if masked else None
    expected, after = run_torch(backbone, x, state, valid, reset)
    actual, end = native.prefill(x, state, valid, reset)
    shown = np.ones((rows, steps), dtype=bool) if valid is None else valid
    assert_close(actual[shown], expected[shown])
    assert_close(end, after)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_row_does_not_depend_on_its_batch(precision, threads):
    """To the last bit, in steps and in chunks, for 1 to 64 rows."""
    blocks = (CHOICES[0], CHOICES[3], CHOICES[5], MORE[0])
    _, native = make_pair(blocks, precision=precision, threads=threads)
    rng = np.random.default_rng(0)
    for steps in (1, 7):
        x = rng.normal(size=(64, steps, WIDTH)).astype(np.float32)
        state = native.prefill(x[:, :1], native.init_state(64))[1]
        whole, after = native.prefill(x, state)
        for rows in (1, 2, 3, 5, 8, 13, 33, 63):
            some, end = native.prefill(x[:rows], state[:rows])
            np.testing.assert_array_equal(some, whole[:rows])
            np.testing.assert_array_equal(end, after[:rows])


@given(
    blocks=stacks,
    seed=st.integers(0, 99),
    rows=st.integers(1, 5),
    steps=st.integers(1, 20),
    data=st.data(),
)
def test_outputs_that_are_not_wanted_change_nothing(blocks, seed, rows, steps, data):
    _, native = make_pair(blocks, seed)
    outputs = data.draw(st.integers(0, steps))
    x = np.random.default_rng(seed).normal(size=(rows, steps, WIDTH)).astype(np.float32)
    whole, end = native.prefill(x, native.init_state(rows))
    some, after = native.prefill(x, native.init_state(rows), outputs=outputs)
    np.testing.assert_array_equal(some, whole[:, steps - outputs :])
    np.testing.assert_array_equal(after, end)


def test_threads_do_not_change_a_bit():
    blocks = (CHOICES[0], CHOICES[3], CHOICES[5])
    x = np.random.default_rng(0).normal(size=(6, 40, WIDTH)).astype(np.float32)
    results = []
    for threads in (1, 2, 3):
        _, native = make_pair(blocks, threads=threads)
        results.append(native.prefill(x, native.init_state(6)))
    for out, state in results[1:]:
        np.testing.assert_array_equal(out, results[0][0])
        np.testing.assert_array_equal(state, results[0][1])


@given(blocks=stacks, seed=st.integers(0, 99), data=st.data())
def test_sequence_can_be_split_anywhere(blocks, seed, data):
    _, native = make_pair(blocks, seed)
    steps = data.draw(st.integers(1, 40))
    x = np.random.default_rng(seed).normal(size=(3, steps, WIDTH)).astype(np.float32)
    whole, end = native.prefill(x, native.init_state(3))
    state, parts, at = native.init_state(3), [], 0
    while at < steps:
        size = data.draw(st.integers(1, steps))
        out, state = native.prefill(x[:, at : at + size], state)
        parts.append(out)
        at += size
    assert_close(np.concatenate(parts, axis=1), whole)
    assert_close(state, end)


def test_states_move_from_slot_to_slot():
    """In place, into spare slots, and two streams from one: the others stay as they are."""
    _, native = make_pair(CHOICES + MORE)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(3, WIDTH)).astype(np.float32)
    arena = native.prefill(rng.normal(size=(8, 4, WIDTH)).astype(np.float32), native.init_state(8))[
        1
    ]
    before = arena.copy()
    expected, after = native.prefill(x[:, None], before[[5, 2, 2]])
    out = native.step(x, arena, np.array([5, 2, 2]), np.array([5, 0, 7]))
    np.testing.assert_array_equal(out, expected[:, 0])
    np.testing.assert_array_equal(arena[[5, 0, 7]], after)
    untouched = [1, 2, 3, 4, 6]
    np.testing.assert_array_equal(arena[untouched], before[untouched])


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_short_precisions_stay_near(precision):
    blocks = (
        SLSTMBlockConfig(width=64, num_heads=4, conv_window=0, norm="rms"),
        MLSTMBlockConfig(width=64, num_heads=4),
    )
    backbone, native = make_pair(blocks * 2, width=64, precision=precision)
    x = np.random.default_rng(2).normal(size=(4, 50, 64)).astype(np.float32)
    expected, _ = run_torch(backbone, x, native.init_state(4))
    actual, _ = native.prefill(x, native.init_state(4))
    error = np.abs(actual - expected).max() / expected.std()
    assert 0 < error < SHORT[precision]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_number_that_is_not_finite_stays_in_its_row(precision):
    _, native = make_pair(CHOICES, precision=precision)
    x = np.random.default_rng(3).normal(size=(3, 4, WIDTH)).astype(np.float32)
    clean, _ = native.prefill(x, native.init_state(3))
    x[1, 2, 3] = np.nan
    out, _ = native.prefill(x, native.init_state(3))
    assert np.isnan(out[1, 2:]).all()
    np.testing.assert_array_equal(out[[0, 2]], clean[[0, 2]])


def test_no_rows_and_no_steps_change_nothing():
    _, native = make_pair(CHOICES)
    out, state = native.prefill(np.empty((0, 3, WIDTH), np.float32), native.init_state(0))
    assert out.shape == (0, 3, WIDTH)
    start = native.init_state(2) + 1
    out, state = native.prefill(np.empty((2, 0, WIDTH), np.float32), start)
    assert out.shape == (2, 0, WIDTH)
    np.testing.assert_array_equal(state, start)


def test_slots_that_disturb_each_other_are_refused():
    _, native = make_pair(CHOICES[:1])
    arena = native.init_state(4)
    before = arena.copy()
    x = np.ones((2, WIDTH), np.float32)
    for source, target in (([0, 1], [2, 2]), ([0, 1], [1, 2]), ([0, 0], [0, 1]), ([0, 9], [0, 1])):
        with pytest.raises(InputError):
            native.step(x, arena, np.array(source), np.array(target))
    with pytest.raises(ShapeError, match="source"):
        native.step(x, arena, np.array([0]), np.array([0, 1]))
    with pytest.raises(ShapeError, match="arena"):
        native.step(x, arena.astype(np.float64), np.array([0, 1]), np.array([0, 1]))
    np.testing.assert_array_equal(arena, before)


def test_many_rows_that_disturb_each_other_are_refused():
    _, native = make_pair(CHOICES[:1])
    arena = native.init_state(100)
    x = np.ones((50, WIDTH), np.float32)
    slots = np.arange(50)
    native.step(x, arena, slots, slots)
    native.step(x, arena, slots, slots + 50)
    native.step(x, arena, slots * 0, slots + 50)
    for target in (slots + 1, slots[::-1].copy(), slots * 0 + 77, slots + 51):
        with pytest.raises(InputError):
            native.step(x, arena, slots, target)


def test_weights_that_do_not_fit_are_named():
    backbone, _ = make_pair(CHOICES)
    weights = {name: array.numpy() for name, array in backbone.state_dict().items()}
    short = {name: array for name, array in weights.items() if name != "blocks.0.layer.bias"}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.layer\.bias is missing"):
        NativeBackbone(backbone.config, short)
    with pytest.raises(CheckpointError, match="extra is not part of"):
        NativeBackbone(backbone.config, weights | {"extra": np.zeros(1, np.float32)})
    wrong = weights | {"norm.weight": np.zeros(3, np.float32)}
    with pytest.raises(CheckpointError, match=r"norm\.weight of shape"):
        NativeBackbone(backbone.config, wrong)
