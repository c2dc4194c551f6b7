"""What runs a forecaster's network: the protocol, and the choice of one at load.

A runtime is imported by name, so that no import leads from here to torch.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Final, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.models.network_config import NetworkConfig
from xlstmd.ops.native import load_native
from xlstmd.ops.native_handle import Precision

Floats = NDArray[np.float32]


class _Candidate(NamedTuple):
    """A runtime by name, its module and class, and what it takes.

    The class is called with `(network, weights, threads, precision)`.
    """

    name: str
    path: str
    packages: tuple[str, ...]
    precisions: tuple[Precision, ...]
    is_native: bool = False


# Best first.
_RUNTIMES: Final = (
    _Candidate(
        "native",
        "xlstmd.models.native_runtime:NativeRuntime",
        packages=(),
        precisions=("float32", "bfloat16", "int8"),
        is_native=True,
    ),
    _Candidate(
        "torch",
        "xlstmd.models.torch_runtime:TorchRuntime",
        packages=("torch", "jaxtyping"),
        precisions=("float32", "bfloat16"),
    ),
)


class ForecastRuntime(Protocol):
    """Runs tokens through a network; states are rows of numbers that the caller keeps."""

    @property
    def name(self) -> str:
        """For messages and `/info`."""

    @property
    def precision(self) -> str:
        """Of dense products, for messages and `/info`."""

    @property
    def state_size(self) -> int:
        """Numbers per state."""

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first token, [B, S]."""

    def prefill(
        self, features: Floats, valid: NDArray[np.bool_], state: Floats, outputs: int
    ) -> tuple[Floats, Floats]:
        """Runs tokens.

        Args:
          features: [B, N, F].
          valid: [B, N], False where a token is padding.
          state: [B, S], not modified.
          outputs: for how many of the last tokens quantiles are wanted, 0 or more.

        Returns:
          Quantiles [B, outputs, P, Q] in scaled units, not sorted, and states [B, S].
        """

    def advance(self, features: Floats, states: Floats, slots: NDArray[np.int64]) -> None:
        """Moves states on by tokens that are all valid.

        Args:
          features: [B, N, F].
          states: [slots, S]; changed in place.
          slots: [B], different ones.
        """


def refusals(precision: str = "float32") -> dict[str, str]:
    """Gives for every runtime that cannot run here, or not in that precision, why not."""
    return {entry.name: reason for entry in _RUNTIMES if (reason := _refusal(entry, precision))}


def make_runtime(
    network: NetworkConfig,
    weights: Mapping[str, Floats],
    name: str | None = None,
    *,
    threads: int | None = None,
    precision: str = "float32",
) -> ForecastRuntime:
    """Builds the best runtime that can run here, or the one named.

    Args:
      network: shape of what to run.
      weights: by parameter name.
      name: of the runtime; None takes the best.
      threads: that it computes with; None leaves that as it is in this process.
      precision: of dense products: `float32`, `bfloat16` or `int8`. Norms, gates and states are
        float32 in each of them.

    Raises:
      BackendUnavailable: none can, with each one's reason.
      CheckpointError: weights do not fit the shape.
      ConfigError: no runtime or precision of that name.
    """
    known = [entry.name for entry in _RUNTIMES]
    if name is not None and name not in known:
        raise ConfigError(f"runtime: expected one of {', '.join(known)}, got {name}")
    if precision not in get_args(Precision):
        names = ", ".join(get_args(Precision))
        raise ConfigError(f"precision: expected one of {names}, got {precision}")
    refused = refusals(precision)
    for entry in _RUNTIMES:
        if entry.name not in refused and name in (None, entry.name):
            module, _, cls = entry.path.partition(":")
            make = getattr(import_module(module), cls)
            runtime: ForecastRuntime = make(network, weights, threads, precision)
            return runtime
    reasons = "; ".join(f"{who}: {why}" for who, why in refused.items())
    raise BackendUnavailable(f"no runtime can run this model: {reasons}", refused)


def _refusal(entry: _Candidate, precision: str) -> str | None:
    native = load_native()
    if entry.is_native and native.library is None:
        return f"needs the native library: {native.reason}"
    missing = [package for package in entry.packages if find_spec(package) is None]
    if missing:
        return f"needs {', '.join(missing)} (pip install 'xlstmd[torch]')"
    if precision not in entry.precisions:
        return f"computes in {', '.join(entry.precisions)}, not in {precision}"
    return None
