"""Returns of the episodes of several environments, as they end."""

from collections import deque
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_REMEMBERED: Final = 100


class EpisodeLog:
    """Counts episodes.

    Attributes:
      count: episodes that have ended.
      recent: returns of the last ones.
    """

    def __init__(self, environments: int) -> None:
        """Starts without an episode."""
        self.count = 0
        self.recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._returns = np.zeros(environments)

    def note(self, rewards: NDArray[np.floating[Any]], ends: NDArray[np.bool_]) -> None:
        """Takes in one step of every environment."""
        self._returns += rewards
        if ends.any():
            self.recent.extend(self._returns[ends].tolist())
            self.count += int(ends.sum())
            self._returns[ends] = 0.0

    @property
    def mean(self) -> float:
        """Mean return of the last episodes; NaN before the first one."""
        return float(np.mean(self.recent)) if self.recent else float("nan")
