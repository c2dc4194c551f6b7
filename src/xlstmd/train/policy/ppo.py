"""Proximal policy optimization of a recurrent policy, on whole sequences with reset masks."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlstmd.nn.state import BackboneState
from xlstmd.train.policy.actor_critic import ActorCritic
from xlstmd.train.policy.advantages import RewardScale, generalized_advantages
from xlstmd.train.policy.ppo_config import PPOConfig
from xlstmd.train.policy.rollout import Rollout

_ADAM_EPS = 1e-5
_TINY = 1e-8


class Sequences(NamedTuple):
    """Segments of a rollout, [B, T, ...] each."""

    inputs: Tensor
    actions: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor
    starts: Tensor
    states: Tensor


class Losses(NamedTuple):
    """Means over an update."""

    policy: float
    value: float
    entropy: float
    distance: float


class PPO:
    """Updates of one model; see `PPOConfig`.

    Source: Schulman et al., arXiv:1707.06347.

    Attributes:
      scale: of rewards.
      optimizer: of the model.
    """

    def __init__(self, model: ActorCritic, config: PPOConfig, seed: int) -> None:
        """Prepares the optimizer."""
        self.model = model
        self.config = config
        self.scale = RewardScale(np.zeros(config.num_envs))
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, eps=_ADAM_EPS, fused=True
        )
        self.rng = np.random.default_rng([seed, 2])
        self._empty = model.policy.init_state(1)

    def update(self, rollout: Rollout, progress: float) -> Losses:
        """Learns from a rollout.

        Args:
          rollout: played with the model's weights.
          progress: share of the run that is over.
        """
        config = self.config
        falling = 1.0 - (1.0 - config.last_learning_rate) * progress
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * falling
        sequences = self._sequences(rollout)
        means: list[Losses] = []
        for _ in range(config.epochs):
            batches = self._batches(sequences)
            losses = [self._learn(batch, config.entropy * falling) for batch in batches]
            means.append(Losses(*np.mean(losses, axis=0).tolist()))
            if means[-1].distance > config.max_distance:
                break
        return Losses(*np.mean(means, axis=0).tolist())

    def _sequences(self, rollout: Rollout) -> Sequences:
        config = self.config
        rewards = rollout.rewards
        if config.scale_rewards:
            self.scale.update(rollout, config.discount)
            rewards = rewards * self.scale.factor
        advantages = generalized_advantages(
            rollout, rewards, discount=config.discount, decay=config.decay
        )
        with torch.no_grad():
            logs, _ = self.model.log_probability(
                torch.from_numpy(rollout.outputs), torch.from_numpy(rollout.actions)
            )
        states, segments = rollout.states.swapaxes(0, 1), rewards.shape[1] // config.segment

        def cut(array: NDArray[Any]) -> Tensor:
            parts = array.reshape(len(array) * segments, config.segment, *array.shape[2:])
            whole = torch.from_numpy(np.ascontiguousarray(parts))
            return whole.float() if whole.is_floating_point() else whole

        return Sequences(
            inputs=cut(rollout.inputs),
            actions=cut(rollout.actions),
            log_probabilities=cut(logs.numpy()),
            advantages=cut(advantages),
            returns=cut(advantages + rollout.values),
            starts=cut(rollout.starts),
            states=torch.from_numpy(states.reshape(-1, states.shape[2])),
        )

    def _batches(self, sequences: Sequences) -> Iterator[Sequences]:
        count = len(sequences.inputs)
        order = torch.from_numpy(self.rng.permutation(count))
        for start in range(0, count, self.config.batch_segments):
            rows = order[start : start + self.config.batch_segments]
            yield Sequences(*(part[rows] for part in sequences))

    def _learn(self, batch: Sequences, entropy_weight: float) -> tuple[float, ...]:
        config = self.config
        state: BackboneState = self._empty.from_flat(batch.states)
        outputs, values = self.model(batch.inputs, state, batch.starts)
        logs, entropy = self.model.log_probability(outputs, batch.actions)
        advantages = batch.advantages
        advantages = (advantages - advantages.mean()) / (advantages.std() + _TINY)
        change = logs - batch.log_probabilities
        ratio = change.exp()
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        policy_loss = -torch.min(ratio * advantages, clipped * advantages).mean()
        value_loss = 0.5 * (values - batch.returns).square().mean()
        bonus = entropy.mean()
        loss = policy_loss + config.value * value_loss - entropy_weight * bonus
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_norm)
        # One batch with an extreme row must not end a run.
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        with torch.no_grad():
            distance = (ratio - 1.0 - change).mean()
        told = (policy_loss, value_loss, bonus, distance)
        return tuple(float(number.detach()) for number in told)
