"""How much better actions were than expected, and the scale of rewards."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.train.policy.rollout import Rollout

Numbers = NDArray[np.float64]

_LEAST_VARIANCE: Final = 1e-8


def generalized_advantages(
    rollout: Rollout, rewards: Numbers, *, discount: float, decay: float
) -> Numbers:
    """Gives generalized advantage estimates [N, T].

    Where time ran out, the critic's value of what would have come stands for it.

    Args:
      rollout: steps and values.
      rewards: [N, T], scaled as the values are.
      discount: gamma.
      decay: lambda.

    Source: Schulman et al., arXiv:1506.02438, equation 16.
    """
    steps = rewards.shape[1]
    going = (~rollout.ends).astype(np.float64)
    after = np.concatenate([rollout.values[:, 1:], rollout.last_values[:, None]], axis=1)
    following = np.where(rollout.ends, rollout.cut_values, after)
    surprise = rewards + discount * following - rollout.values
    advantages = np.empty_like(rewards)
    later = np.zeros(len(rewards))
    for step in reversed(range(steps)):
        later = surprise[:, step] + discount * decay * going[:, step] * later
        advantages[:, step] = later
    return advantages


@dataclass(slots=True)
class RewardScale:
    """Deviation of discounted returns, by which rewards are divided.

    Attributes:
      count: steps so far.
      mean: of the returns.
      variance: of the returns.
      returns: [N], of the episodes that are going on.
    """

    returns: Numbers
    count: int = 0
    mean: float = 0.0
    variance: float = 1.0

    def update(self, rollout: Rollout, discount: float) -> None:
        """Takes in the steps of a rollout."""
        seen = np.empty_like(rollout.rewards)
        for step in range(seen.shape[1]):
            self.returns = self.returns * discount + rollout.rewards[:, step]
            seen[:, step] = self.returns
            self.returns = np.where(rollout.ends[:, step], 0.0, self.returns)
        count = self.count + seen.size
        shift = float(seen.mean()) - self.mean
        spread = self.variance * self.count + float(seen.var()) * seen.size
        self.variance = (spread + shift**2 * self.count * seen.size / count) / count
        self.mean += shift * seen.size / count
        self.count = count

    @property
    def factor(self) -> float:
        """That rewards are multiplied with."""
        return float(1.0 / np.sqrt(max(self.variance, _LEAST_VARIANCE)))
