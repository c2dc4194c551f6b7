"""Recurrent states: one layout per operation, the same for every implementation.

A state is a value. No operation modifies the state that it is given.
"""

from typing import NamedTuple

import torch

from xlstmd.ops.start import STABILIZER_START
from xlstmd.shapes import ConvWindow, MatrixMemory, MLSTMNormalizer, MLSTMStabilizer, SLSTMUnits


class MLSTMState(NamedTuple):
    """Memory of an mLSTM after a step, in units scaled by exp(-stabilizer).

    Keys enter unscaled; queries are divided by sqrt(K) when they read.
    """

    matrix_memory: MatrixMemory
    normalizer: MLSTMNormalizer
    stabilizer: MLSTMStabilizer

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        num_heads: int,
        qk_width: int,
        value_width: int,
        *,
        stabilizer_start: float = STABILIZER_START,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> "MLSTMState":
        """Gives the state before the first step."""
        return cls(
            torch.zeros(batch_size, num_heads, qk_width, value_width, dtype=dtype, device=device),
            torch.zeros(batch_size, num_heads, qk_width, dtype=dtype, device=device),
            torch.full((batch_size, num_heads), stabilizer_start, dtype=dtype, device=device),
        )


class SLSTMState(NamedTuple):
    """Memory of an sLSTM after a step; cell and normalizer are scaled by exp(-stabilizer)."""

    hidden: SLSTMUnits
    cell: SLSTMUnits
    normalizer: SLSTMUnits
    stabilizer: SLSTMUnits

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        num_heads: int,
        head_width: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> "SLSTMState":
        """Gives the state before the first step."""
        shape = (batch_size, num_heads, head_width)
        zero = torch.zeros(shape, dtype=dtype, device=device)
        start = torch.full(shape, STABILIZER_START, dtype=dtype, device=device)
        return cls(zero, zero.clone(), zero.clone(), start)


class ConvState(NamedTuple):
    """The last W-1 inputs of a causal convolution, oldest first; zeros before the first step."""

    window: ConvWindow

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        window: int,
        width: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> "ConvState":
        """Gives the state before the first step of a convolution over `window` steps."""
        return cls(torch.zeros(batch_size, window - 1, width, dtype=dtype, device=device))
