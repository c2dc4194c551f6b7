"""Native operations at any shape: what they give, and that they touch nothing beside their arrays.

Every array lies between two stretches of NaN: what reads beyond it cannot give numbers, and what
writes beyond it leaves a trace.
"""

import ctypes
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.cases import draw_mask
from tests.tolerances import FORMS, assert_close, assert_gradients_close
from xlstmd.ops import conv, mlstm, slstm
from xlstmd.ops.conv import vectorized as torch_conv
from xlstmd.ops.mlstm import chunkwise as torch_mlstm
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.native import load_native
from xlstmd.ops.native_pool import pool
from xlstmd.ops.native_signatures import ConvProblem, MLSTMProblem, SLSTMProblem
from xlstmd.ops.slstm import vectorized as torch_slstm
from xlstmd.ops.slstm.options import SLSTMOptions
from xlstmd.ops.state import ConvState, MLSTMState, SLSTMState

pytestmark = pytest.mark.skipif(
    load_native().library is None, reason=f"native library {load_native().summary}"
)

SHAPES = settings(derandomize=True, deadline=None, max_examples=60, database=None)
GUARD = 64
SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}

rows, steps, widths = st.integers(0, 4), st.integers(1, 150), st.integers(1, 70)
chances = st.sampled_from((None, 0.02, 0.3, 0.9))
dtypes = st.sampled_from((torch.float64, torch.float32))
threads = st.sampled_from((1, 2))
seeds = st.integers(0, 2**31 - 1)


class Frame:
    """An array between two guards."""

    def __init__(self, shape, dtype, content=None):
        size = int(np.prod(shape))
        self.whole = np.full(size + 2 * GUARD, np.nan, str(dtype).removeprefix("torch."))
        self.array = self.whole[GUARD : GUARD + size].reshape(shape)
        if content is not None:
            self.array[...] = content.detach().numpy()

    @classmethod
    def around(cls, tensor):
        return cls(tuple(tensor.shape), tensor.dtype, tensor)

    @property
    def address(self):
        return self.array.ctypes.data

    def result(self):
        """Gives the array, both guards untouched."""
        assert np.isnan(self.whole[:GUARD]).all()
        assert np.isnan(self.whole[len(self.whole) - GUARD :]).all()
        return torch.from_numpy(self.array.copy())


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Two masks [B, T] and where their bytes lie; kept alive."""

    reset: torch.Tensor | None
    valid: torch.Tensor | None

    @classmethod
    def draw(cls, seed, batch_size, length, resets, padding):
        return cls(
            reset=None if resets is None else draw_mask(seed, batch_size, length, resets),
            valid=None if padding is None else ~draw_mask(seed + 1, batch_size, length, padding),
        )

    def addresses(self):
        masks = {"reset": self.reset, "valid": self.valid}
        return {name: None if x is None else x.data_ptr() for name, x in masks.items()}


def framed(tensors):
    return [None if x is None else Frame.around(x) for x in tensors]


def fresh(tensors):
    return [None if x is None else Frame(tuple(x.shape), x.dtype) for x in tensors]


def parts(frames):
    return (ctypes.c_void_p * len(frames))(*(x.address for x in frames))


def called(name, dtype, count, problem, *arguments):
    addresses = (x.address if isinstance(x, Frame) else x for x in arguments)
    function = getattr(load_native().library, f"{name}_{SUFFIXES[dtype]}")
    assert function(pool(count), ctypes.byref(problem), *addresses) == 0


def saved_by(name, dtype, problem):
    return getattr(load_native().library, f"{name}_saved_{SUFFIXES[dtype]}")(ctypes.byref(problem))


def results(frames):
    """Gives what lies in the frames, by place."""
    return {str(i): x.result() for i, x in enumerate(frames) if x is not None}


def compare(torch_form, leaves, slopes, ours, dtype):
    """Holds outputs and gradients of guarded arrays to a form in torch.

    Args:
      torch_form: gives outputs and final state of attached leaves.
      leaves: tensors that may have gradients.
      slopes: gradients of the outputs and of the final state.
      ours: frames of outputs and final state, and of the gradients.
    """
    attached = [None if x is None else x.clone().requires_grad_() for x in leaves]
    outputs = torch_form(*attached)
    *actual, last = results(ours[0]).values()
    for result, expected in zip(actual, outputs[:-1], strict=True):
        assert_close(result, expected.detach(), FORMS[dtype].outputs)
    # The stabilizer comes last and is a logarithm: near 0 its absolute error counts.
    assert_close(last, outputs[-1].detach(), FORMS[dtype].outputs, floor=1.0)
    sources = {str(i): x for i, x in enumerate(attached) if x is not None}
    gradients = torch.autograd.grad(
        outputs, list(sources.values()), slopes, allow_unused=True, materialize_grads=True
    )
    if any(x.numel() for x in gradients):
        expected = dict(zip(sources, gradients, strict=True))
        assert_gradients_close(results(ours[1]), expected, FORMS[dtype].gradients)


def normal(seed, dtype, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


@SHAPES
@given(
    seed=seeds, B=rows, T=steps, H=st.integers(1, 3), K=widths, V=widths, resets=chances,
    padding=chances, capped=st.booleans(), dtype=dtypes, count=threads,
)  # fmt: skip
def test_mlstm(seed, B, T, H, K, V, resets, padding, capped, dtype, count):
    options = MLSTMOptions(eps=1e-3, gate_soft_cap=2.0 if capped else None)
    inputs = normal(seed, dtype, *[(B, H, T, K)] * 2, (B, H, T, V), *[(B, H, T)] * 2)
    state = normal(seed + 1, dtype, (B, H, K, V), (B, H, K), (B, H))
    slopes = normal(seed + 2, dtype, (B, H, T, V), *(x.shape for x in state))
    masks = Masks.draw(seed, B, T, resets, padding)
    problem = MLSTMProblem(
        rows=B, heads=H, steps=T, qk_width=K, value_width=V, eps=options.eps,
        stabilizer_start=options.stabilizer_start, cap=options.gate_soft_cap or 0.0,
        **masks.addresses(),
    )  # fmt: skip
    xs, start, d_out, d_end = framed(inputs), framed(state), *framed(slopes[:1]), framed(slopes[1:])
    out, end, d_xs, d_start = *fresh(inputs[2:3]), fresh(state), fresh(inputs), fresh(state)
    saved = Frame((saved_by("xlstmd_mlstm", dtype, problem),), dtype)
    run = "xlstmd_mlstm_forward", dtype, count, problem, parts(xs), parts(start)
    called(*run, out, parts(end), saved)
    saved.result()
    called(
        "xlstmd_mlstm_backward", dtype, count, problem, parts(xs), parts(start), out, saved, d_out,
        parts(d_end), parts(d_xs), parts(d_start),
    )  # fmt: skip

    def in_torch(*leaves):
        memory = MLSTMState(*leaves[5:])
        h, last = torch_mlstm.sequence(*leaves[:5], memory, options, masks.reset, masks.valid)
        return h, *last

    compare(in_torch, inputs + state, slopes, ([out, *end], d_xs + d_start), dtype)


@SHAPES
@given(
    seed=seeds, B=rows, T=st.integers(1, 40), H=st.integers(1, 3), D=widths, resets=chances,
    padding=chances, capped=st.booleans(), exp=st.booleans(), dtype=dtypes, count=threads,
)  # fmt: skip
def test_slstm(seed, B, T, H, D, resets, padding, capped, exp, dtype, count):
    options = SLSTMOptions(
        forget_gate="exp" if exp else "sigmoid", gate_soft_cap=2.0 if capped else None
    )
    preacts, recurrent = normal(seed, dtype, (B, T, 4, H, D), (H, D, 4, D))
    recurrent /= D**0.5
    state = normal(seed + 1, dtype, *[(B, H, D)] * 4)
    state[2] = 1.0 + state[2].abs()
    slopes = normal(seed + 2, dtype, (B, T, H, D), *(x.shape for x in state))
    masks = Masks.draw(seed, B, T, resets, padding)
    problem = SLSTMProblem(
        rows=B, steps=T, heads=H, units=D, exp_forget=exp, cap=options.gate_soft_cap or 0.0,
        **masks.addresses(),
    )  # fmt: skip
    x, r, start, d_out = *framed((preacts, recurrent)), framed(state), *framed(slopes[:1])
    out, end, d_end = *fresh(slopes[:1]), fresh(state), framed(slopes[1:])
    d_x, d_r, d_start = *fresh((preacts, recurrent)), fresh(state)
    saved = Frame((saved_by("xlstmd_slstm", dtype, problem),), dtype)
    run = "xlstmd_slstm_forward", dtype, count, problem, x, r, parts(start)
    called(*run, out, parts(end), saved)
    saved.result()
    called(
        "xlstmd_slstm_backward", dtype, count, problem, r, saved, d_out, parts(d_end), d_x, d_r,
        parts(d_start),
    )  # fmt: skip

    def in_torch(*leaves):
        memory = SLSTMState(*leaves[2:])
        h, last = torch_slstm.sequence(*leaves[:2], memory, options, masks.reset, masks.valid)
        return h, *last

    compare(
        in_torch, [preacts, recurrent, *state], slopes, ([out, *end], [d_x, d_r, *d_start]), dtype
    )


@SHAPES
@given(
    seed=seeds, B=rows, T=steps, D=st.integers(1, 150), W=st.integers(1, 9), biased=st.booleans(),
    resets=chances, padding=chances, dtype=dtypes, count=threads,
)  # fmt: skip
def test_conv(seed, B, T, D, W, biased, resets, padding, dtype, count):
    x, weight, bias, window = normal(seed, dtype, (B, T, D), (D, W), (D,), (B, W - 1, D))
    bias = bias if biased else None
    slopes = normal(seed + 2, dtype, (B, T, D), (B, W - 1, D))
    masks = Masks.draw(seed, B, T, resets, padding)
    problem = ConvProblem(rows=B, steps=T, units=D, window=W, **masks.addresses())
    leaves = [x, weight, bias, window]
    in_x, in_weight, in_bias, start = framed(leaves)
    d_x, d_weight, d_bias, d_start = fresh(leaves)
    y, end, d_y, d_end = *fresh(slopes), *framed(slopes)
    run = "xlstmd_conv_forward", dtype, count, problem, in_x, in_weight, in_bias, start
    called(*run, y, end)
    run = "xlstmd_conv_backward", dtype, count, problem, in_x, in_weight, start, d_y, d_end
    called(*run, d_x, d_weight, d_bias, d_start)

    def in_torch(x, weight, bias, window):
        result = torch_conv.sequence(x, weight, bias, ConvState(window), masks.reset, masks.valid)
        return result[0], result[1].window

    compare(in_torch, leaves, slopes, ([y, end], [d_x, d_weight, d_bias, d_start]), dtype)


@pytest.mark.parametrize("op", [conv, mlstm, slstm], ids=lambda op: op.__name__)
def test_native_is_the_first_choice(op):
    assert op.IMPLEMENTATIONS[0].name == "native"
