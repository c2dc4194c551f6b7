"""Two card games of memory, many tables at once in NumPy.

The rules are those of POPGym (arXiv:2303.01859), whose rewards are scaled so that the best return
is 1 and the worst -1.
"""

from abc import ABC, abstractmethod
from typing import Any, Final

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

SUITS: Final = 4
DECK: Final = 52

Cards = NDArray[np.int64]
Rewards = NDArray[np.float64]
Flags = NDArray[np.bool_]


class CardGame(VectorEnv[Cards, Cards, NDArray[Any]], ABC):
    """Shuffled cards are shown one by one by their suit, and the player names a suit each time.

    An episode ends when all cards are shown; the next one starts in the same step.
    """

    def __init__(self, num_envs: int, num_decks: int) -> None:
        """Builds the tables; `reset` shuffles.

        Args:
          num_envs: tables.
          num_decks: of 52 cards, shuffled together.
        """
        self.num_envs = num_envs
        self.num_cards = num_decks * DECK
        self.single_observation_space = Discrete(SUITS)
        self.single_action_space = Discrete(SUITS)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self._sorted = np.tile(np.arange(self.num_cards) % SUITS, (num_envs, 1))
        self._cards = self._sorted
        self._shown = np.ones(num_envs, dtype=np.int64)
        self._tables = np.arange(num_envs)
        self._rng = np.random.default_rng()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[Cards, dict[str, Any]]:
        """Shuffles everywhere and shows the first cards."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        self._cards = self._rng.permuted(self._sorted, axis=1)
        self._shown = np.ones(self.num_envs, dtype=np.int64)
        return self._visible(), {}

    def step(self, actions: Cards) -> tuple[Cards, Rewards, Flags, Flags, dict[str, Any]]:
        """Takes what each player names, and shows the next cards."""
        rewards = self._score(np.asarray(actions).reshape(-1))
        terminated = self._shown == self.num_cards - 1
        self._shown += 1
        information: dict[str, Any] = {}
        if terminated.any():
            rows = np.flatnonzero(terminated)
            information = {"final_obs": self._visible(), "_final_obs": terminated}
            self._cards[rows] = self._rng.permuted(self._sorted[rows], axis=1)
            self._shown[rows] = 1
        return self._visible(), rewards, terminated, np.zeros_like(terminated), information

    def _visible(self) -> Cards:
        visible: Cards = self._cards[self._tables, self._shown - 1]
        return visible

    @abstractmethod
    def _score(self, named: Cards) -> Rewards:
        """Gives what the players get for the suits that they name."""


class RepeatPrevious(CardGame):
    """The player names the suit shown k - 1 cards before the one that is visible."""

    def __init__(self, num_envs: int, *, num_decks: int = 1, k: int = 4) -> None:
        """Builds the tables; the defaults are the easy form."""
        super().__init__(num_envs, num_decks)
        self._k = k

    def _score(self, named: Cards) -> Rewards:
        place = np.maximum(self._shown - self._k, 0)
        right = named == self._cards[self._tables, place]
        scale = 1.0 / (self.num_cards - self._k)
        return np.where(self._shown < self._k, 0.0, np.where(right, scale, -scale))


class RepeatFirst(CardGame):
    """The player names the suit of the first card, each time."""

    def __init__(self, num_envs: int, *, num_decks: int = 1) -> None:
        """Builds the tables; the default is the easy form."""
        super().__init__(num_envs, num_decks)

    def _score(self, named: Cards) -> Rewards:
        scale = 1.0 / (self.num_cards - 1)
        return np.where(named == self._cards[:, 0], scale, -scale)
