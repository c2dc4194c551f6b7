"""Our side of whole models: a backbone and dense products, native where the library is here."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.cpu.workload import LONG_NAMES, Precision, Weights
from benchmarks.harness import BenchmarkError
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import BackboneConfig
from xlstmd.nn.native_backbone import NativeBackbone, NativeStepper
from xlstmd.ops.native import load_native
from xlstmd.ops.native_linear import PackedLinear

Floats = NDArray[np.float32]
Product = Callable[[Floats], Floats]


class Runner(Protocol):
    """A backbone with the states of some rows."""

    name: str

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""

    def step(self, x: Floats) -> Floats:
        """Runs one step [B, D]."""

    def prefill(self, x: Floats) -> Floats:
        """Runs a sequence [B, T, D] from the rows' states."""


class NativeRunner:
    """The native runtime; its states lie in an arena and are stepped in place."""

    name = "xlstmd native"

    def __init__(
        self, config: BackboneConfig, weights: Weights, precision: Precision, threads: int
    ) -> None:
        """Packs the weights."""
        self._backbone = NativeBackbone(
            config, weights, precision=LONG_NAMES[precision], threads=threads
        )
        self.reset(1)

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""
        self._arena = self._backbone.init_state(rows)
        self._stepper = NativeStepper(self._backbone, self._arena, rows)
        self._stepper.source[:] = self._stepper.target[:] = np.arange(rows)

    def step(self, x: Floats) -> Floats:
        """Runs one step [B, D]."""
        self._stepper.x[:] = x
        self._stepper.step(len(x))
        return self._stepper.y

    def prefill(self, x: Floats) -> Floats:
        """Runs a sequence [B, T, D] from the rows' states."""
        y, self._arena = self._backbone.prefill(x, self._arena)
        return y


class TorchRunner:
    """The torch modules, in fp32."""

    name = "xlstmd torch"

    def __init__(self, config: BackboneConfig, weights: Weights) -> None:
        """Fills the modules."""
        self._backbone = Backbone(config)
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        self._backbone.load_state_dict(tensors)
        self._backbone.eval().requires_grad_(False)
        self.reset(1)

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""
        self._state = self._backbone.init_state(rows)

    def step(self, x: Floats) -> Floats:
        """Runs one step [B, D]."""
        y, self._state = self._backbone.step(torch.from_numpy(x), self._state)
        return y.numpy()

    def prefill(self, x: Floats) -> Floats:
        """Runs a sequence [B, T, D] from the rows' states."""
        y, self._state = self._backbone(torch.from_numpy(x), self._state)
        out: Floats = y.numpy()
        return out


def make_runner(
    config: BackboneConfig, weights: Weights, precision: Precision, threads: int
) -> Runner:
    """Gives the native runtime, or the torch modules where there is none.

    Raises:
      BenchmarkError: the precision needs the native runtime.
    """
    if _is_native(precision):
        return NativeRunner(config, weights, precision, threads)
    return TorchRunner(config, weights)


def make_product(
    weight: Floats, bias: Floats | None, precision: Precision, threads: int
) -> Product:
    """Gives a map from [M, K] to [M, N].

    Raises:
      BenchmarkError: the precision needs the native runtime.
    """
    if _is_native(precision):
        return PackedLinear(weight, bias, precision=LONG_NAMES[precision], threads=threads)
    matrix = torch.from_numpy(weight)
    offset = None if bias is None else torch.from_numpy(bias)
    return lambda x: torch.nn.functional.linear(torch.from_numpy(x), matrix, offset).numpy()


def _is_native(precision: Precision) -> bool:
    native = load_native()
    if native.library is None and precision != "fp32":
        raise BenchmarkError(f"needs the native library: {native.reason}")
    return native.library is not None
