"""Steps of one matrix memory in place: the native step with next to nothing around it.

`step` of the forms gives a new state, as a value; where a memory is large and nobody looks back,
that writes it to new addresses for nothing.
"""

import ctypes
from typing import Final

import torch
from torch import Tensor

from xlstmd.errors import BackendUnavailable, ShapeError
from xlstmd.ops.mlstm.options import MLSTMOptions
from xlstmd.ops.native import load_native
from xlstmd.ops.native_handle import check
from xlstmd.ops.native_pool import pool
from xlstmd.ops.native_signatures import InPlaceMLSTM, MLSTMProblem
from xlstmd.ops.state import MLSTMState

_DTYPE: Final = torch.float32


class MLSTMStepper:
    """One memory [B, H, K, V] that is moved forward where it lies; no gradients."""

    def __init__(self, state: MLSTMState, options: MLSTMOptions) -> None:
        """Takes over a state.

        Args:
          state: float32, dense, on the CPU; changed by every step.
          options: what function is computed.

        Raises:
          BackendUnavailable: there is no native library.
          ShapeError: the state is another one.
        """
        library = load_native()
        if library.library is None:
            raise BackendUnavailable("needs the native library", {"native": library.reason})
        self.state = state
        B, H, K, V = state.matrix_memory.shape
        for (name, part), shape in zip(
            state._asdict().items(), ((B, H, K, V), (B, H, K), (B, H)), strict=True
        ):
            _check(name, part, shape)
            if part.requires_grad:
                raise ShapeError(name, "a tensor without gradient", "one that requires it")
        shapes = ((B, H, K), (B, H, K), (B, H, V), (B, H), (B, H))
        self._expected = tuple((f"input {place}", shape) for place, shape in enumerate(shapes))
        self._h = torch.empty(B, H, V)
        problem = MLSTMProblem(
            rows=B,
            heads=H,
            steps=1,
            qk_width=K,
            value_width=V,
            eps=options.eps,
            stabilizer_start=options.stabilizer_start,
            cap=options.gate_soft_cap or 0.0,
        )
        C, n, m = (part.data_ptr() for part in state)
        # Addresses must not outlive what they point to, whatever becomes of the attributes.
        self._kept = (
            state,
            self._h,
            InPlaceMLSTM(
                pool=pool(torch.get_num_threads()),
                problem=ctypes.pointer(problem),
                C=C,
                n=n,
                m=m,
                out=self._h.data_ptr(),
            ),
        )
        self._spec = ctypes.addressof(self._kept[-1])
        self._run = library.library.xlstmd_mlstm_stepper_run

    def step(self, q: Tensor, k: Tensor, v: Tensor, i_preact: Tensor, f_preact: Tensor) -> Tensor:
        """Moves the memory forward by one step.

        Args:
          q, k: [B, H, K]; q is not yet scaled.
          v: [B, H, V].
          i_preact, f_preact: [B, H].

        Returns:
          The output [B, H, V], overwritten by the next step.

        Raises:
          ShapeError: an input is of another shape or dtype, not dense or not on the CPU.
        """
        inputs = (q, k, v, i_preact, f_preact)
        for x, (name, shape) in zip(inputs, self._expected, strict=True):
            _check(name, x, shape)
            if x is self._h:
                raise ShapeError(name, "a tensor of its own", "the output, which is overwritten")
        status = self._run(
            self._spec,
            q.data_ptr(),
            k.data_ptr(),
            v.data_ptr(),
            i_preact.data_ptr(),
            f_preact.data_ptr(),
        )
        if status:
            check(status)
        return self._h


def _check(name: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if x.shape != shape or x.dtype is not _DTYPE or not (x.is_cpu and x.is_contiguous()):
        got = f"{list(x.shape)}, {x.dtype}, {x.device}"
        raise ShapeError(name, f"dense float32 {list(shape)} on the CPU", got)
