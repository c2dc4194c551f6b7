"""What runs a forecaster's network: the protocol, and the choice of one at load.

A runtime is imported by name, so that no import leads from here to torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.models.checkpoint import ForecasterCheckpoint

Floats = NDArray[np.float32]

# Best first. Name, module and class, packages that must be there.
_RUNTIMES: Final = (("torch", "xlstmd.models.torch_runtime:TorchRuntime", ("torch",)),)


class ForecastRuntime(Protocol):
    """Runs tokens through a network; states are rows of numbers that the caller keeps."""

    @property
    def name(self) -> str:
        """For messages and `/info`."""

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


def refusals() -> dict[str, str]:
    """Gives for every runtime that cannot run here why not."""
    return {name: reason for name, _, packages in _RUNTIMES if (reason := _refusal(packages))}


def make_runtime(
    checkpoint: ForecasterCheckpoint, name: str | None = None, *, threads: int | None = None
) -> ForecastRuntime:
    """Builds the best runtime that can run here, or the one named.

    Args:
      checkpoint: what to run.
      name: of the runtime; None takes the best.
      threads: that it computes with; None leaves that as it is in this process.

    Raises:
      BackendUnavailable: none can, with each one's reason.
      ConfigError: no runtime of that name.
    """
    known = [entry[0] for entry in _RUNTIMES]
    if name is not None and name not in known:
        raise ConfigError(f"runtime: expected one of {', '.join(known)}, got {name}")
    refused = refusals()
    for candidate, path, _ in _RUNTIMES:
        if candidate not in refused and name in (None, candidate):
            module, _, cls = path.partition(":")
            runtime: ForecastRuntime = getattr(import_module(module), cls)(checkpoint, threads)
            return runtime
    reasons = "; ".join(f"{who}: {why}" for who, why in refused.items())
    raise BackendUnavailable(f"no runtime can run this model: {reasons}", refused)


def _refusal(packages: tuple[str, ...]) -> str | None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        return f"needs {', '.join(missing)} (pip install 'xlstmd[torch]')"
    return None
