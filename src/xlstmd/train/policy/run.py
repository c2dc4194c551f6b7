"""Training of a policy, from an environment and a seed to a folder with weights."""

import csv
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from xlstmd.errors import CheckpointError
from xlstmd.models.observation_statistics import ObservationStatistics
from xlstmd.models.policy import Policy
from xlstmd.models.policy_checkpoint import PolicyCheckpoint, save_policy
from xlstmd.models.policy_runtime import make_policy_runtime
from xlstmd.train.policy.actor_critic import ActorCritic
from xlstmd.train.policy.environments import environment
from xlstmd.train.policy.evaluation import evaluate_policy
from xlstmd.train.policy.ppo import PPO, Losses
from xlstmd.train.policy.ppo_config import PPOConfig
from xlstmd.train.policy.recipes import architecture, recipe
from xlstmd.train.policy.rollout import Collector

_RUN_FILE: Final = "run.ckpt"
_CURVE_FILE: Final = "returns.csv"
_MODEL_FOLDER: Final = "model"
_CHECKPOINT_S: Final = 60.0

# The weights that ship are the best of so many, judged by episodes that no score is made of.
_TRIALS: Final = 20
_TRIAL_SEED: Final = 2_000_000


@dataclass(slots=True)
class Found:
    """Weights at one place of a run.

    Attributes:
      weights: of the policy's network.
      statistics: of the observations until then.
      steps: of training until then.
      mean: return of their trial; minus infinity before it.
    """

    weights: Mapping[str, NDArray[np.float32]]
    statistics: ObservationStatistics
    steps: int
    mean: float = -float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Gives it as torch can store it safely; `from_dict` reads it."""
        weights = {name: torch.from_numpy(array) for name, array in self.weights.items()}
        statistics = self.statistics.to_dict()
        return {
            "weights": weights,
            "statistics": statistics,
            "steps": self.steps,
            "mean": self.mean,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads what `to_dict` gave."""
        return cls(
            weights={name: tensor.numpy() for name, tensor in values["weights"].items()},
            statistics=ObservationStatistics.from_dict(values["statistics"]),
            steps=values["steps"],
            mean=values["mean"],
        )


class PolicyRun:
    """One run of training in a folder; see `train_policy`.

    Attributes:
      steps: of all environments together so far.
      cpu_seconds: of training so far, of all threads together; pauses do not count.
      best: weights found so far; None before the first trial.
    """

    def __init__(self, name: str, config: PPOConfig, folder: Path, seed: int) -> None:
        """Builds environments, model and optimizer."""
        self.name, self.folder, self.seed = name, folder, seed
        self.spec, self.config, self.shape = environment(name), config, architecture(name)
        self.steps, self.cpu_seconds = 0, 0.0
        torch.manual_seed(seed)
        self._model = ActorCritic(
            self.shape,
            log_std=config.log_std,
            forget_bias=config.forget_bias,
            input_bias=config.input_bias,
        )
        self._ppo = PPO(self._model, config, seed)
        self._start_environments(seed)
        self.best: Found | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def _start_environments(self, seed: int) -> None:
        self._collector = Collector(
            self.spec.make(self.config.num_envs),
            self.shape,
            self.spec.contract,
            seed=seed,
            noise_memory=self.config.noise_memory,
            input_noise=self.config.input_noise,
        )

    def run(self, progress: Any) -> None:
        """Trains to the end.

        Args:
          progress: is called with the steps so far and a line about them.
        """
        config, clock, saved = self.config, time.process_time(), self.cpu_seconds
        trials = 1 + self.steps * _TRIALS // config.total_steps
        while self.steps < config.total_steps:
            rollout = self._collector.collect(self._model, config.rollout_steps, config.segment)
            losses = self._ppo.update(rollout, self.steps / config.total_steps)
            self.steps += rollout.rewards.size
            tried = float("nan")
            if self.steps * _TRIALS >= trials * config.total_steps:
                trials = 1 + self.steps * _TRIALS // config.total_steps
                tried = self._try()
            now = time.process_time()
            self.cpu_seconds, clock = self.cpu_seconds + now - clock, now
            self._note(losses, tried)
            progress(self.steps, f"return {self._collector.episodes.mean:.4g}")
            if self.cpu_seconds - saved >= _CHECKPOINT_S:
                self.save()
                saved = self.cpu_seconds
        self.save()

    def save(self) -> None:
        """Writes a checkpoint from which `resume` goes on; the old one stays until it is whole."""
        state = {
            "name": self.name,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
            "steps": self.steps,
            "cpu_seconds": self.cpu_seconds,
            "model": self._model.state_dict(),
            "optimizer": self._ppo.optimizer.state_dict(),
            "statistics": self._collector.statistics.to_dict(),
            "scale": (self._ppo.scale.count, self._ppo.scale.mean, self._ppo.scale.variance),
            "best": None if self.best is None else self.best.to_dict(),
        }
        part = self.folder / f"{_RUN_FILE}.part"
        torch.save(state, part)
        part.replace(self.folder / _RUN_FILE)

    def resume(self) -> bool:
        """Goes on from the folder's checkpoint; says whether there was one.

        Environments cannot be stored: they start anew, with seeds of their own.

        Raises:
          CheckpointError: it belongs to another environment, seed or recipe.
        """
        path = self.folder / _RUN_FILE
        if not path.is_file():
            return False
        state: dict[str, Any] = torch.load(path, weights_only=True)
        own = {"name": self.name, "seed": self.seed, "config": dataclasses.asdict(self.config)}
        for key, value in own.items():
            if state[key] != value:
                raise CheckpointError(f"{path.name}: expected {key} {value}, got {state[key]}")
        self._model.load_state_dict(state["model"])
        self._ppo.optimizer.load_state_dict(state["optimizer"])
        scale = self._ppo.scale
        scale.count, scale.mean, scale.variance = state["scale"]
        self.steps, self.cpu_seconds = state["steps"], state["cpu_seconds"]
        self._start_environments(self.seed + self.steps)
        self._collector.statistics = ObservationStatistics.from_dict(state["statistics"])
        self.best = None if state["best"] is None else Found.from_dict(state["best"])
        return True

    def checkpoint(self) -> PolicyCheckpoint:
        """Gives the best policy so far.

        Raises:
          CheckpointError: there was no trial yet.
        """
        if self.best is None:
            raise CheckpointError(
                f"{self.name}: expected a run with a trial, got {self.steps} steps"
            )
        return self._packed(self.best)

    def _packed(self, found: Found) -> PolicyCheckpoint:
        training = {
            "environment": self.name,
            "seed": self.seed,
            "steps": self.steps,
            "best_steps": found.steps,
            "cpu_seconds": round(self.cpu_seconds, 1),
            "recipe": dataclasses.asdict(self.config),
        }
        return PolicyCheckpoint(
            name=self.name,
            version="1",
            config=self.shape,
            contract=self.spec.contract,
            statistics=found.statistics,
            weights=found.weights,
            training=training,
        )

    def _try(self) -> float:
        """Scores the weights as they are, and keeps them where they are the best so far."""
        weights = {
            name: parameter.detach().numpy().copy()
            for name, parameter in self._model.policy.named_parameters()
        }
        found = Found(weights=weights, statistics=self._collector.statistics, steps=self.steps)
        policy = Policy(self._packed(found), make_policy_runtime(self.shape, weights))
        episodes = self.config.trial_episodes
        found.mean = evaluate_policy(policy, self.spec, episodes, seed=_TRIAL_SEED).mean
        if self.best is None or found.mean >= self.best.mean:
            self.best = found
        return found.mean

    def _note(self, losses: Losses, tried: float) -> None:
        path = self.folder / _CURVE_FILE
        fresh = not path.is_file()
        log = self._collector.episodes
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                names = ("steps", "cpu_seconds", "episodes", "return", "trial", *Losses._fields)
                writer.writerow(names)
            numbers = (log.mean, tried, *losses)
            written = ("" if np.isnan(number) else f"{number:.5g}" for number in numbers)
            writer.writerow((self.steps, round(self.cpu_seconds, 2), log.count, *written))


def train_policy(
    name: str,
    folder: Path,
    *,
    seed: int = 0,
    steps: int | None = None,
    resume: bool = True,
    threads: int = 1,
) -> None:
    """Trains a policy and writes it to `folder/model`.

    Beside it lie the run's checkpoint and `returns.csv`. A run that was cut off goes on where it
    was, if `resume`.

    Args:
      name: of the environment, see `recipes.RECIPES`.
      folder: of the run.
      seed: of all randomness.
      steps: of all environments together; None takes those of the recipe.
      resume: whether to go on from a checkpoint in the folder.
      threads: of torch.

    Raises:
      ConfigError: there is no recipe for this environment.
      CheckpointError: the folder holds another run.
    """
    torch.set_num_threads(threads)
    config = recipe(name)
    if steps is not None:
        config = dataclasses.replace(config, total_steps=steps)
    run = PolicyRun(name, config, folder, seed)
    if resume:
        run.resume()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("return", total=config.total_steps, completed=run.steps)
        run.run(lambda done, line: bar.update(task, completed=done, description=line))
    save_policy(run.checkpoint(), folder / _MODEL_FOLDER)
