"""The forecaster's network run by torch."""

import numpy as np
import torch
from numpy.typing import NDArray

from xlstmd.errors import CheckpointError
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.forecast_network import ForecastNetwork

Floats = NDArray[np.float32]


class TorchRuntime:
    """Runs the modules as they are trained, without gradients."""

    name = "torch"

    def __init__(self, checkpoint: ForecasterCheckpoint, threads: int | None = None) -> None:
        """Builds the network and fills it.

        Args:
          checkpoint: architecture and weights.
          threads: of torch, for the whole process; None leaves them.

        Raises:
          CheckpointError: weights do not fit the architecture.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        self.network = ForecastNetwork(checkpoint.config)
        weights = {name: torch.from_numpy(array) for name, array in checkpoint.weights.items()}
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f"{checkpoint.name}: weights do not fit: {error}") from None
        self.network.eval().requires_grad_(False)
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
