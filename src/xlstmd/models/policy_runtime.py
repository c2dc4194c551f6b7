"""What runs a policy's network: the protocols, and the choice of one at load.

A runtime is imported by name, so that no import leads from here to torch.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.models.policy_config import PolicyConfig
from xlstmd.models.runtime import refusals
from xlstmd.nn.parameters import Shapes, parameter_shapes

Floats = NDArray[np.float32]
Slots = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Best first; each is called with `(config, weights, threads, precision)`.
_RUNTIMES: Final = {
    "native": "xlstmd.models.native_policy:NativePolicyRuntime",
    "torch": "xlstmd.models.torch_policy:TorchPolicyRuntime",
}


class PolicyStepper(Protocol):
    """Steps of streams in one arena; its arrays are filled and read by the caller.

    Attributes:
      x: [rows, I], inputs of the next step.
      source: [rows], slot that each row starts from.
      target: [rows], slot that it ends in.
      y: [rows, O], the head's numbers of the last step.
    """

    x: Floats
    source: Slots
    target: Slots
    y: Floats

    def step(self, rows: int) -> None:
        """Runs one step of the first `rows` rows."""


class PolicyRuntime(Protocol):
    """Runs a policy's network; states are rows of numbers that the caller keeps."""

    @property
    def name(self) -> str:
        """For messages and `/info`."""

    @property
    def precision(self) -> str:
        """Of dense products, for messages and `/info`."""

    @property
    def state_size(self) -> int:
        """Numbers per state, S."""

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first step, [B, S]."""

    def run(self, inputs: Floats, arena: Floats, slots: Slots, reset: Mask | None = None) -> Floats:
        """Runs several steps of streams whose states lie in slots.

        Args:
          inputs: [B, T, I].
          arena: [slots, S]; changed in place.
          slots: [B], different ones.
          reset: [B, T], True where an episode starts.

        Returns:
          Numbers of the head, [B, T, O].
        """

    def stepper(self, arena: Floats, rows: int) -> PolicyStepper:
        """Prepares steps of at most `rows` rows over an arena [slots, S], changed in place."""


def make_policy_runtime(
    config: PolicyConfig,
    weights: Mapping[str, Floats],
    name: str | None = None,
    *,
    threads: int = 1,
    precision: str = "float32",
) -> PolicyRuntime:
    """Builds the best runtime that can run here, or the one named.

    Args:
      config: shape of what to run.
      weights: by parameter name.
      name: of the runtime; None takes the best.
      threads: that it computes with.
      precision: of dense products.

    Raises:
      BackendUnavailable: none can, with each one's reason.
      CheckpointError: weights do not fit the shape.
      ConfigError: no runtime of that name.
    """
    if name is not None and name not in _RUNTIMES:
        raise ConfigError(f"runtime: expected one of {', '.join(_RUNTIMES)}, got {name}")
    refused = refusals(precision)
    for known, path in _RUNTIMES.items():
        if known not in refused and name in (None, known):
            module, _, cls = path.partition(":")
            make = getattr(import_module(module), cls)
            runtime: PolicyRuntime = make(config, weights, threads, precision)
            return runtime
    reasons = "; ".join(f"{who}: {why}" for who, why in refused.items())
    raise BackendUnavailable(f"no runtime can run this policy: {reasons}", refused)


def policy_shapes(config: PolicyConfig) -> Shapes:
    """Gives every parameter of a policy's network with its shape."""
    width, outputs = config.backbone.width, config.head.num_outputs
    shapes: Shapes = {
        "embedding.weight": (width, config.num_inputs),
        "embedding.bias": (width,),
        "head.weight": (outputs, width),
        "head.bias": (outputs,),
    }
    backbone = parameter_shapes(config.backbone)
    return shapes | {f"backbone.{name}": shape for name, shape in backbone.items()}
