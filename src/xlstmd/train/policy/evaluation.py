"""Scores of a policy: returns of whole episodes, played as it is served. No torch in here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.policy import Policy
from xlstmd.train.policy.as_numbers import as_numbers
from xlstmd.train.policy.environments import EnvironmentSpec

Numbers = NDArray[np.float64]

# Far from the seeds of training, whose environments count up from the run's seed.
EVALUATION_SEED: Final = 1_000_000
_AT_ONCE: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Returns of episodes.

    Attributes:
      returns: of each episode.
      steps: of all of them together.
    """

    returns: Numbers
    steps: int

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def deviation(self) -> float:
        """Standard deviation of the returns."""
        return float(self.returns.std())

    @property
    def middle_mean(self) -> float:
        """Mean of the middle half of the returns."""
        ordered = np.sort(self.returns)
        quarter = len(ordered) // 4
        return float(ordered[quarter : len(ordered) - quarter].mean())


def evaluate_policy(
    policy: Policy,
    spec: EnvironmentSpec,
    episodes: int,
    *,
    seed: int = EVALUATION_SEED,
    progress: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Plays a policy without chance in its actions.

    Each environment plays its share of the episodes whole, so that short ones count no more than
    long ones.

    Args:
      policy: to be scored.
      spec: environment.
      episodes: how many.
      seed: of the environments.
      progress: is told how many episodes have ended.
    """
    count = min(_AT_ONCE, episodes)
    environments = spec.make(count)
    left = np.full(count, episodes // count)
    left[: episodes % count] += 1
    play = policy.episodes(count)
    observations = as_numbers(environments.reset(seed=seed)[0], count)
    running, returns, steps = np.zeros(count), [], 0
    while left.any():
        actions = play.act(observations)
        after, rewards, terminated, truncated, _ = environments.step(_asked(policy, actions))
        running += rewards
        steps += int((left > 0).sum())
        for row in np.flatnonzero(terminated | truncated):
            if left[row]:
                returns.append(running[row])
                left[row] -= 1
            running[row] = 0.0
            play.reset([int(row)])
            progress(len(returns))
        observations = as_numbers(after, count)
    environments.close()
    return Evaluation(returns=np.array(returns), steps=steps)


def _asked(policy: Policy, actions: Numbers) -> NDArray[Any]:
    """Gives actions as an environment takes them."""
    if policy.contract.actions[0].choices:
        return actions[:, 0].astype(np.int64)
    return actions.astype(np.float32)
