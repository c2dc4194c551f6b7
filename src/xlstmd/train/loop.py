"""The training loop: batches in, averaged weights out, resumable at any checkpoint."""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlstmd.errors import CheckpointError
from xlstmd.models.forecast_network import ForecastNetwork
from xlstmd.nn.linear import set_products
from xlstmd.ops.products import Products
from xlstmd.train.batches import Batch
from xlstmd.train.losses import pinball
from xlstmd.train.schedule import cosine_by_time

_RUN_FILE = "run.ckpt"
_CURVE_FILE = "loss.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """How a run learns.

    Attributes:
      seconds: of training time, over all sessions of the run.
      learning_rate: after the warm-up.
      warm_up: steps.
      floor: factor of the learning rate at the end.
      weight_decay: on matrices, not on norms, biases and recurrent weights.
      clip: largest norm of all gradients together.
      average: decay of the averaged weights per step.
      checkpoint_s: seconds between checkpoints.
      log_every: steps between lines of the loss curve.
      products: how linear maps multiply; see `nn.linear.set_products`.
    """

    seconds: float
    learning_rate: float = 2e-3
    warm_up: int = 200
    floor: float = 0.02
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.999
    checkpoint_s: float = 120.0
    log_every: int = 50
    products: Products = "float32"


class Loop:
    """One run of training in a folder."""

    def __init__(
        self,
        network: ForecastNetwork,
        config: LoopConfig,
        folder: Path,
        rng: np.random.Generator,
        quantile_levels: Sequence[float],
    ) -> None:
        """Prepares optimizer and averages.

        Args:
          network: to be trained; changed in place.
          config: how.
          folder: where checkpoint and curve go; made when absent.
          rng: of the batches; its state is part of a checkpoint.
          quantile_levels: that the network gives, rising.
        """
        set_products(network, config.products)
        self.network = network
        self.config = config
        self.folder = folder
        self.rng = rng
        self.step = 0
        self.samples = 0
        self.elapsed = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        self._levels = torch.tensor(quantile_levels)
        self._optimizer = torch.optim.AdamW(
            _groups(network, config.weight_decay),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self._average = {name: p.detach().clone() for name, p in network.named_parameters()}

    def run(
        self, batches: Iterator[Batch], progress: Callable[[float, float], None]
    ) -> dict[str, Tensor]:
        """Trains until the time is over.

        Args:
          batches: without end.
          progress: is told elapsed seconds and the latest loss.

        Returns:
          The averaged weights.
        """
        losses: list[float] = []
        clock = time.monotonic()
        saved = self.elapsed
        while self.elapsed < self.config.seconds:
            losses.append(self._learn(next(batches)))
            now = time.monotonic()
            self.elapsed, clock = self.elapsed + now - clock, now
            if self.step % self.config.log_every == 0:
                self._note(float(np.mean(losses)))
                progress(self.elapsed, float(np.mean(losses)))
                losses.clear()
            if self.elapsed - saved >= self.config.checkpoint_s:
                self.save()
                saved = self.elapsed
        if losses:
            self._note(float(np.mean(losses)))
        self.save()
        return self.averaged()

    def averaged(self) -> dict[str, Tensor]:
        """Gives the averaged weights so far."""
        return {name: average.clone() for name, average in self._average.items()}

    def save(self) -> None:
        """Writes a checkpoint from which `resume` goes on; the old one stays until it is whole."""
        state = {
            "step": self.step,
            "samples": self.samples,
            "elapsed": self.elapsed,
            "products": self.config.products,
            "network": self.network.state_dict(),
            "average": self._average,
            "optimizer": self._optimizer.state_dict(),
            "rng": self.rng.bit_generator.state,
        }
        part = self.folder / f"{_RUN_FILE}.part"
        torch.save(state, part)
        part.replace(self.folder / _RUN_FILE)

    def resume(self) -> bool:
        """Goes on from the folder's checkpoint; says whether there was one.

        Raises:
          CheckpointError: it belongs to another architecture, or was trained with other products.
        """
        path = self.folder / _RUN_FILE
        if not path.is_file():
            return False
        state: dict[str, Any] = torch.load(path, weights_only=True)
        products = state.get("products", "float32")
        if products != self.config.products:
            expected = f"a run with products {self.config.products}"
            raise CheckpointError(f"{path.name}: expected {expected}, got one with {products}")
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise CheckpointError(f"{path.name}: expected this preset's weights: {error}") from None
        self._optimizer.load_state_dict(state["optimizer"])
        self._average = state["average"]
        self.step, self.samples = state["step"], state["samples"]
        self.elapsed = state["elapsed"]
        self.rng.bit_generator.state = state["rng"]
        return True

    def _learn(self, batch: Batch) -> float:
        config = self.config
        factor = cosine_by_time(
            self.elapsed, config.seconds, self.step, warm_up=config.warm_up, floor=config.floor
        )
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        state = self.network.init_state(len(batch.features))
        quantiles, _ = self.network(
            torch.from_numpy(batch.features), torch.from_numpy(batch.valid), state
        )
        targets, weights = torch.from_numpy(batch.targets), torch.from_numpy(batch.weights)
        loss = pinball(quantiles, targets, weights, self._levels)
        self._optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        # One batch with an extreme row must not end a run.
        if bool(torch.isfinite(norm)):
            self._optimizer.step()
            self._follow()
        self.step += 1
        self.samples += len(batch.features)
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        # The average starts fast, else the first weights would stay in it for a thousand steps.
        decay = min(self.config.average, (1.0 + self.step) / (10.0 + self.step))
        averages = [self._average[name] for name, _ in self.network.named_parameters()]
        torch._foreach_lerp_(averages, list(self.network.parameters()), 1.0 - decay)

    def _note(self, loss: float) -> None:
        path = self.folder / _CURVE_FILE
        fresh = not path.is_file()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(("step", "samples", "seconds", "loss"))
            writer.writerow((self.step, self.samples, round(self.elapsed, 1), round(loss, 5)))


def _groups(network: ForecastNetwork, weight_decay: float) -> list[dict[str, Any]]:
    decayed: list[torch.nn.Parameter] = []
    plain: list[torch.nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_matrix = parameter.ndim >= 2 and not name.endswith(("recurrent", "bias", "norm.weight"))
        (decayed if is_matrix else plain).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
