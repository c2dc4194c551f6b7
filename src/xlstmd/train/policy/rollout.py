"""Steps of a policy in environments, with what is needed to learn from them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from xlstmd.models.observation_statistics import ObservationEncoder, ObservationStatistics
from xlstmd.models.policy import ActionDecoder
from xlstmd.models.policy_config import ContinuousHead, PolicyConfig
from xlstmd.models.policy_contract import PolicyContract
from xlstmd.models.policy_runtime import Floats
from xlstmd.train.policy.actor_critic import ActorCritic
from xlstmd.train.policy.as_numbers import as_numbers
from xlstmd.train.policy.episode_log import EpisodeLog
from xlstmd.train.policy.player import Player

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rollout:
    """T steps of N environments.

    Attributes:
      inputs: [N, T, I], encoded observations.
      actions: [N, T, A], choices or numbers before they are squashed.
      outputs: [N, T, O], numbers of the head.
      values: [N, T], by the critic.
      rewards: [N, T].
      cut_values: [N, T], by the critic, of what would have come where time ran out; else 0.
      starts: [N, T], True where an episode starts.
      ends: [N, T], True where an episode ends after the step.
      last_values: [N], of the observations after the last step.
      states: [T / segment, N, S], memories before the first step of each segment.
    """

    inputs: Floats
    actions: Floats
    outputs: Floats
    values: Floats
    rewards: Numbers
    cut_values: Numbers
    starts: Mask
    ends: Mask
    last_values: Floats
    states: Floats


@dataclass(slots=True)
class _Track:
    """What happens at each step, in the order of time."""

    columns: dict[str, list[NDArray[Any]]] = field(default_factory=dict)

    def note(self, **arrays: NDArray[Any]) -> None:
        for name, array in arrays.items():
            self.columns.setdefault(name, []).append(array)

    def row_by_row(self, name: str) -> NDArray[Any]:
        return np.stack(self.columns[name], axis=1)


class Collector:
    """Plays a policy that is being trained; knows where each environment stands.

    Attributes:
      statistics: of all observations so far.
      episodes: that have ended.
    """

    def __init__(
        self,
        environments: VectorEnv[Any, Any, Any],
        config: PolicyConfig,
        contract: PolicyContract,
        *,
        seed: int,
        noise_memory: float = 0.0,
        input_noise: float = 0.0,
    ) -> None:
        """Resets the environments.

        Args:
          environments: that start anew in the step that ends an episode.
          config: of the policy.
          contract: of the policy.
          seed: of environments and actions.
          noise_memory: correlation of the noise of continuous actions from step to step.
          input_noise: deviation of noise on encoded observations.
        """
        self._environments = environments
        self._config = config
        self._decoder = ActionDecoder(config.head, contract)
        self._rng = np.random.default_rng([seed, 1])
        self._noise_memory = noise_memory
        self._input_noise = input_noise
        self._count = environments.num_envs
        self._noise = self._rng.normal(size=(self._count, config.head.num_outputs))
        self._observations = as_numbers(environments.reset(seed=seed)[0], self._count)
        self._starting = np.ones(self._count, dtype=np.bool_)
        self._memories: Floats | None = None
        self.statistics = ObservationStatistics.empty(config.num_observations)
        self.episodes = EpisodeLog(self._count)

    def collect(self, model: ActorCritic, steps: int, segment: int) -> Rollout:
        """Plays on.

        Args:
          model: with the weights to play by.
          steps: of each environment, T.
          segment: steps after which memories are noted.
        """
        player = Player(model, self._config, self._count)
        if self._memories is not None:
            player.memories[:] = self._memories
        encoder = ObservationEncoder(self._config.observation_choices, self.statistics)
        noise, track, states = self._draw_noise(model, steps), _Track(), []
        for step in range(steps):
            if step % segment == 0:
                states.append(player.memories.copy())
            self._play(player, encoder, track, noise[step])
        player.empty(self._starting)
        self._memories = player.memories.copy()
        last = player.values(encoder(self._observations), np.arange(self._count))
        self.statistics = self.statistics.updated(np.concatenate(track.columns.pop("observations")))
        columns = {name: track.row_by_row(name) for name in track.columns}
        return Rollout(**columns, last_values=last, states=np.stack(states))

    def _play(
        self, player: Player, encoder: ObservationEncoder, track: _Track, noise: Numbers
    ) -> None:
        player.empty(self._starting)
        inputs = encoder(self._observations)
        if self._input_noise:
            inputs += self._input_noise * self._rng.standard_normal(inputs.shape, np.float32)
        outputs, values = player.step(inputs)
        head = self._config.head
        actions = outputs + noise
        if not isinstance(head, ContinuousHead):
            actions = actions.argmax(axis=-1)[:, None]
            asked: NDArray[Any] = actions[:, 0]
        else:
            asked = self._decoder.scaled(actions, head.squash).astype(np.float32)
        after, rewards, terminated, truncated, more = self._environments.step(asked)
        cut, ends = truncated & ~terminated, terminated | truncated
        cut_values = np.zeros(self._count)
        if cut.any():
            rows = np.flatnonzero(cut)
            last = as_numbers(np.stack([more["final_obs"][row] for row in rows]), len(rows))
            cut_values[rows] = player.values(encoder(last), rows)
        track.note(
            observations=self._observations,
            inputs=inputs,
            actions=actions.astype(np.float32),
            outputs=outputs,
            values=values,
            rewards=np.array(rewards, dtype=np.float64),
            cut_values=cut_values,
            starts=self._starting,
            ends=ends,
        )
        self.episodes.note(rewards, ends)
        self._observations, self._starting = as_numbers(after, self._count), ends

    def _draw_noise(self, model: ActorCritic, steps: int) -> Numbers:
        shape = (steps, *self._noise.shape)
        if not isinstance(self._config.head, ContinuousHead):
            return self._rng.gumbel(size=shape)
        fresh = self._rng.normal(size=shape)
        share = np.sqrt(1.0 - self._noise_memory**2)
        for step in range(steps if self._noise_memory else 0):
            self._noise = self._noise_memory * self._noise + share * fresh[step]
            fresh[step] = self._noise
        scatter: Numbers = np.exp(model.log_std.detach().numpy().astype(np.float64))
        return fresh * scatter
