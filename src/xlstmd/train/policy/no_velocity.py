"""Classic control without velocities: what moves how fast has to be remembered."""

from collections.abc import Sequence
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TransformObservation
from numpy.typing import NDArray

from xlstmd.errors import ConfigError

# Places that are kept, by environment; the others hold velocities.
VISIBLE: Final = {
    "CartPole-v1": (0, 2),
    "Pendulum-v1": (0, 1),
    "MountainCarContinuous-v0": (0,),
}


class NoVelocity(TransformObservation[NDArray[Any], Any, NDArray[Any]]):
    """Multiplies velocities by 0 and leaves the rest, as `MaskVelocityWrapper` of rl_zoo3 does."""

    def __init__(self, environment: "gymnasium.Env[Any, Any]", visible: Sequence[int]) -> None:
        """Wraps an environment.

        Args:
          environment: whose observations are a vector.
          visible: places that are kept.
        """
        shape = environment.observation_space.shape
        self.mask = np.zeros(shape or (), dtype=np.float32)
        self.mask[list(visible)] = 1.0
        super().__init__(environment, self._masked, environment.observation_space)

    def _masked(self, observation: NDArray[Any]) -> NDArray[Any]:
        masked: NDArray[Any] = observation * self.mask
        return masked


class Visible(TransformObservation[NDArray[Any], Any, NDArray[Any]]):
    """Leaves out the places that are always 0: nothing but shorter observations."""

    def __init__(self, environment: "gymnasium.Env[Any, Any]", visible: Sequence[int]) -> None:
        """Wraps an environment; see `NoVelocity`."""
        places = list(visible)
        space = environment.observation_space
        if not isinstance(space, Box):
            raise ConfigError(f"environment: expected a vector of observations, got {space}")
        kept = Box(space.low[places], space.high[places], dtype=np.float32)
        super().__init__(environment, lambda observation: observation[places], kept)


def make_no_velocity(name: str, num_envs: int) -> VectorEnv[Any, Any, Any]:
    """Builds several environments whose velocities cannot be seen.

    Args:
      name: of the environment, one of `VISIBLE`.
      num_envs: how many.
    """

    def make() -> "gymnasium.Env[Any, Any]":
        environment = gymnasium.make(name, disable_env_checker=True)
        return Visible(NoVelocity(environment, VISIBLE[name]), VISIBLE[name])

    return SyncVectorEnv([make] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
