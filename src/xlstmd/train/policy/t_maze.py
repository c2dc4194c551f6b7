"""The passive T-maze, many corridors at once in NumPy: a sign at the start, a turn at the end.

The rules are those of Ni et al., "When Do Transformers Shine in RL?" (arXiv:2307.03864): to get to
the junction in time the walker must go on at every step, and only the sign at the start says where
to turn.
"""

from typing import Any, Final

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

ONWARD: Final = 0
LEFT: Final = 1
RIGHT: Final = 2
BACK: Final = 3

LOWEST: Final = np.array([-1.0, 0.0], dtype=np.float32)
HIGHEST: Final = np.array([1.0, 1.0], dtype=np.float32)

Observations = NDArray[np.float32]
Actions = NDArray[np.int64]
Rewards = NDArray[np.float64]
Flags = NDArray[np.bool_]


class TMaze(VectorEnv[Observations, Actions, NDArray[Any]]):
    """Observations: the sign (-1 left, 1 right; 0 but at the start), and whether this is the end.

    An episode has `length` + 1 steps. Each step after which the walker is behind where it could be
    costs 1 / `length`. The last step is the turn: 1 for the right one at the junction, else 0. So
    the best return is 1, and a blind turn gives 0.5 on average.
    """

    def __init__(self, num_envs: int, *, length: int = 50) -> None:
        """Builds the corridors.

        Args:
          num_envs: corridors.
          length: steps from the start to the junction.
        """
        self.num_envs = num_envs
        self.length = length
        self.single_observation_space = Box(LOWEST, HIGHEST, dtype=np.float32)
        self.single_action_space = Discrete(4)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self._rng = np.random.default_rng()
        self._goal = np.zeros(num_envs, dtype=np.int64)
        self._place = np.zeros(num_envs, dtype=np.int64)
        self._time = 0

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[Observations, dict[str, Any]]:
        """Puts all walkers at the start, with new signs."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)  # type: ignore[arg-type]
        self._goal = self._rng.integers(LEFT, RIGHT + 1, self.num_envs)
        self._place = np.zeros(self.num_envs, dtype=np.int64)
        self._time = 0
        return self._visible(), {}

    def step(self, actions: Actions) -> tuple[Observations, Rewards, Flags, Flags, dict[str, Any]]:
        """Moves all walkers; all episodes have the same length."""
        chosen = np.asarray(actions).reshape(-1)
        information: dict[str, Any] = {}
        if self._time == self.length:
            turned = (self._place == self.length) & (chosen == self._goal)
            done = np.ones(self.num_envs, dtype=np.bool_)
            information = {"final_obs": self._visible(), "_final_obs": done}
            observations, _ = self.reset()
            return observations, turned.astype(np.float64), done, ~done, information
        self._time += 1
        moved = (chosen == ONWARD).astype(np.int64) - (chosen == BACK)
        self._place = np.clip(self._place + moved, 0, self.length)
        behind = np.where(self._place < self._time, -1.0 / self.length, 0.0)
        going = np.zeros(self.num_envs, dtype=np.bool_)
        return self._visible(), behind, going, going, information

    def _visible(self) -> Observations:
        observations = np.zeros((self.num_envs, 2), dtype=np.float32)
        if self._time == 0:
            observations[:, 0] = np.where(self._goal == RIGHT, 1.0, -1.0)
        observations[:, 1] = self._place == self.length
        return observations
