"""A network run by torch."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from xlstmd.errors import CheckpointError
from xlstmd.models.forecast_network import ForecastNetwork
from xlstmd.models.network_config import NetworkConfig
from xlstmd.nn.linear import set_products
from xlstmd.ops.native_handle import Precision

Floats = NDArray[np.float32]


class TorchRuntime:
    """Runs the modules as they are trained, without gradients."""

    name = "torch"

    def __init__(
        self,
        network: NetworkConfig,
        weights: Mapping[str, NDArray[np.float32]],
        threads: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        """Builds the network and fills it.

        Args:
          network: its shape.
          weights: by the names of its parameters.
          threads: of torch, for the whole process; None leaves them.
          precision: of the dense products; norms, recurrences and states stay float32.

        Raises:
          CheckpointError: weights do not fit the shape.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.network = ForecastNetwork(network)
        tensors = {name: torch.from_numpy(array) for name, array in weights.items()}
        try:
            self.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"weights do not fit: {error}") from None
        self.network.eval().requires_grad_(False)
        if precision == "bfloat16":
            set_products(self.network, "bfloat16")
        self.precision = precision
        self._empty = self.network.init_state(1)
        self.state_size = self._empty.to_flat().shape[1]

    def init_state(self, rows: int) -> Floats:
        """Gives states before the first token, [B, S]."""
        empty: Floats = self._empty.to_flat().numpy()
        return np.repeat(empty, rows, axis=0)

    @torch.inference_mode()
    def prefill(
        self, features: Floats, valid: NDArray[np.bool_], state: Floats, outputs: int
    ) -> tuple[Floats, Floats]:
        """Runs tokens; see `ForecastRuntime.prefill`."""
        before = self._empty.from_flat(torch.from_numpy(state))
        quantiles, after = self.network(
            torch.from_numpy(features), torch.from_numpy(valid), before, outputs
        )
        return quantiles.numpy(), after.to_flat().numpy()

    def advance(self, features: Floats, states: Floats, slots: NDArray[np.int64]) -> None:
        """Moves states on; see `ForecastRuntime.advance`."""
        valid = np.ones(features.shape[:2], dtype=np.bool_)
        _, states[slots] = self.prefill(features, valid, states[slots], 0)
