"""A policy's network run by torch."""

from collections.abc import Mapping

import numpy as np
import torch

from xlstmd.errors import InputError
from xlstmd.models.policy_config import PolicyConfig
from xlstmd.models.policy_network import PolicyNetwork
from xlstmd.models.policy_runtime import Floats, Mask, Slots, policy_shapes
from xlstmd.nn.linear import set_products
from xlstmd.nn.native_backbone import check_arena
from xlstmd.nn.parameters import check_weights
from xlstmd.ops.native_handle import Precision


class TorchPolicyRuntime:
    """Runs the module as it is trained, without gradients.

    Attributes:
      network: that is run.
      precision: of the dense products.
      state_size: numbers per state, S.
    """

    name = "torch"

    def __init__(
        self,
        config: PolicyConfig,
        weights: Mapping[str, Floats],
        threads: int = 1,
        precision: Precision = "float32",
    ) -> None:
        """Builds the network and fills it.

        Args:
          config: shape.
          weights: by the names of its parameters.
          threads: of torch, for the whole process.
          precision: of the dense products; norms, recurrences and states stay float32.

        Raises:
          CheckpointError: weights do not fit the shape.
        """
        check_weights(weights, policy_shapes(config))
        torch.set_num_threads(threads)
        self.network = PolicyNetwork(config)
        self.network.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
        self.network.eval().requires_grad_(False)
        if precision == "bfloat16":
            set_products(self.network, "bfloat16")
        self.precision = precision
        self._empty = self.network.init_state(1)
        self.state_size = self._empty.to_flat().shape[1]

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first step, [B, S]."""
        empty: Floats = self._empty.to_flat().numpy()
        return np.repeat(empty, rows, axis=0)

    @torch.inference_mode()
    def run(self, inputs: Floats, arena: Floats, slots: Slots, reset: Mask | None = None) -> Floats:
        """Runs several steps; see `PolicyRuntime.run`."""
        before = self._empty.from_flat(torch.from_numpy(arena[slots]))
        mask = None if reset is None else torch.from_numpy(reset)
        outputs, after = self.network(torch.from_numpy(inputs), before, mask)
        arena[slots] = after.to_flat().numpy()
        numbers: Floats = outputs.numpy()
        return numbers

    @torch.inference_mode()
    def step(self, inputs: Floats, arena: Floats, source: Slots, target: Slots) -> Floats:
        """Runs one step [B, I] from slots to slots, and gives the head's numbers [B, O]."""
        before = self._empty.from_flat(torch.from_numpy(arena[source]))
        outputs, after = self.network.step(torch.from_numpy(inputs), before)
        arena[target] = after.to_flat().numpy()
        numbers: Floats = outputs.numpy()
        return numbers

    def stepper(self, arena: Floats, rows: int) -> "TorchPolicyStepper":
        """Prepares steps; see `PolicyRuntime.stepper`."""
        return TorchPolicyStepper(self, arena, rows)


class TorchPolicyStepper:
    """Steps with the arrays of a `NativeStepper`; see `PolicyStepper`."""

    def __init__(self, runtime: TorchPolicyRuntime, arena: Floats, rows: int) -> None:
        """Allocates the arrays.

        Raises:
          ShapeError: the arena does not fit the network.
        """
        check_arena(arena, runtime.state_size)
        config = runtime.network.config
        self.x = np.zeros((rows, config.num_inputs), dtype=np.float32)
        self.y = np.zeros((rows, config.head.num_outputs), dtype=np.float32)
        self.source = np.zeros(rows, dtype=np.int64)
        self.target = np.zeros(rows, dtype=np.int64)
        self._runtime = runtime
        self._arena = arena

    def step(self, rows: int) -> None:
        """Runs one step of the first `rows` rows.

        Raises:
          InputError: there are not so many rows, or a slot does not exist.
        """
        if not 0 <= rows <= len(self.x):
            raise InputError("rows", f"0 to {len(self.x)}", str(rows))
        source, target = self.source[:rows], self.target[:rows]
        for name, slots in (("source", source), ("target", target)):
            if rows and not 0 <= slots.min() <= slots.max() < len(self._arena):
                raise InputError(name, f"slots 0 to {len(self._arena) - 1}", str(slots.tolist()))
        self.y[:rows] = self._runtime.step(self.x[:rows], self._arena, source, target)
