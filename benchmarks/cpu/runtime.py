"""Our side of whole models: a backbone between two maps, native where the library is here."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import linear

from benchmarks.cpu.workload import LONG_NAMES, Precision, Weights
from benchmarks.harness import BenchmarkError
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.config import BackboneConfig
from xlstmd.nn.native_backbone import NativeBackbone
from xlstmd.nn.native_stepper import NativeStepper
from xlstmd.ops.native import load_native
from xlstmd.ops.native_linear import PackedLinear

Floats = NDArray[np.float32]
# A weight [N, K] and a bias [N]; None is no map.
Map = tuple[Floats, Floats | None] | None


class Runner(Protocol):
    """A backbone between two maps, with the states of some rows."""

    name: str

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""

    def step(self, x: Floats) -> Floats:
        """Runs one step of all rows; its result may be overwritten by the next one."""


class NativeRunner:
    """The native runtime; its states lie in an arena and are stepped in place."""

    name = "xlstmd native"

    def __init__(
        self,
        config: BackboneConfig,
        weights: Weights,
        precision: Precision,
        threads: int,
        maps: tuple[Map, Map],
    ) -> None:
        """Packs the weights."""
        long_name = LONG_NAMES[precision]
        self._backbone = NativeBackbone(config, weights, precision=long_name, threads=threads)
        self._maps = [
            None if weight is None else PackedLinear(*weight, precision=long_name, threads=threads)
            for weight in maps
        ]
        self.reset(1)

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""
        into, out_of = self._maps
        arena = self._backbone.init_state(rows)
        self._stepper = NativeStepper(
            self._backbone, arena, rows, input_map=into, output_map=out_of
        )
        self._stepper.source[:] = self._stepper.target[:] = np.arange(rows)

    def step(self, x: Floats) -> Floats:
        """Runs one step of all rows."""
        stepper = self._stepper
        stepper.x[:] = x
        stepper.step(len(x))
        return stepper.y


class TorchRunner:
    """The torch modules, in fp32."""

    name = "xlstmd torch"

    def __init__(self, config: BackboneConfig, weights: Weights, maps: tuple[Map, Map]) -> None:
        """Fills the modules."""
        self._backbone = Backbone(config)
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        self._backbone.load_state_dict(tensors)
        self._backbone.eval().requires_grad_(False)
        self._maps = [
            None if weight is None else [None if x is None else torch.from_numpy(x) for x in weight]
            for weight in maps
        ]
        self.reset(1)

    def reset(self, rows: int) -> None:
        """Empties the memory of so many rows."""
        self._state = self._backbone.init_state(rows)

    def step(self, x: Floats) -> Floats:
        """Runs one step of all rows."""
        into, out_of = self._maps
        y = torch.from_numpy(x)
        y = y if into is None else linear(y, *into)
        y, self._state = self._backbone.step(y, self._state)
        y = y if out_of is None else linear(y, *out_of)
        return y.numpy()


def make_runner(
    config: BackboneConfig,
    weights: Weights,
    precision: Precision,
    threads: int,
    maps: tuple[Map, Map] = (None, None),
) -> Runner:
    """Gives the native runtime, or the torch modules where there is none.

    Args:
      config: shape of the backbone.
      weights: of the backbone.
      precision: of dense products.
      threads: that share one step.
      maps: before and after the backbone.

    Raises:
      BenchmarkError: the precision needs the native runtime.
    """
    native = load_native()
    if native.library is not None:
        return NativeRunner(config, weights, precision, threads, maps)
    if precision != "fp32":
        raise BenchmarkError(f"needs the native library: {native.reason}")
    return TorchRunner(config, weights, maps)
