"""What a step of an episode computes: observations in, actions out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.step_work import STEP_BYTES
from xlstmd.errors import ModelFailed
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep

Numbers = NDArray[np.float64]

# Observations that one model call takes in: milliseconds for the others to wait.
_PORTION: Final = 64
_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyWork:
    """Implements `StepWork`.

    Args:
      observations: [N, F], those that the policy is shown; may be none.
      num_actions: numbers of an action.
    """

    observations: Numbers
    num_actions: int

    @property
    def field(self) -> str:
        """See `StepWork.field`."""
        return "observation"

    @property
    def portions(self) -> int:
        """See `StepWork.portions`."""
        return max(1, -(-len(self.observations) // _PORTION))

    @property
    def nbytes(self) -> int:
        """See `StepWork.nbytes`."""
        actions = _NUMBER_BYTES * len(self.observations) * self.num_actions
        return self.observations.nbytes + actions + STEP_BYTES

    def points(self, portion: int) -> int:
        """See `StepWork.points`."""
        return len(self._shown(portion)) + 1

    def step(self, slot: int, portion: int) -> PolicyStep:
        """See `StepWork.step`."""
        return PolicyStep(slot=slot, observations=self._shown(portion))

    def fault(self, answer: PolicyAnswer) -> ModelFailed | None:
        """See `StepWork.fault`; numbers that are not finite are none: the guards have them."""
        shape = answer.actions.shape
        if answer.actions.ndim == 2 and shape == (len(answer.is_sound), self.num_actions):
            return None
        expected = f"actions of {self.num_actions} numbers"
        return ModelFailed(self.field, expected, f"{list(shape)} from the model")

    def whole(self, answers: Sequence[PolicyAnswer]) -> PolicyAnswer:
        """See `StepWork.whole`."""
        return PolicyAnswer(
            actions=np.concatenate([answer.actions for answer in answers]),
            is_sound=np.concatenate([answer.is_sound for answer in answers]),
        )

    def _shown(self, portion: int) -> Numbers:
        return self.observations[portion * _PORTION : (portion + 1) * _PORTION]
