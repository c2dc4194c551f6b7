"""What stands around a policy, whatever it does: what it is shown, and what comes of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.policy_status import ActionStatus
from xlstmd.errors import InputError, ShapeError
from xlstmd.models.policy_contract import PolicyContract
from xlstmd.models.usual_observations import UsualObservations

Numbers = NDArray[np.float64]
_MS_PER_S = 1000.0


class PolicyGuards:
    """The guards of one policy, in their order: shape, numbers, what is usual, age; then, around
    what the policy gives: numbers, bounds, rates.

    Attributes:
      contract: of the policy.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        """Reads them.

        Args:
          facts: of the policy: `contract`, as `PolicyContract.from_dict` reads it, and `usual`, as
            `UsualObservations.from_dict` does.

        Raises:
          ConfigError: they cannot be.
        """
        self.contract = PolicyContract.from_dict(facts["contract"])
        self._usual = UsualObservations.from_dict(facts["usual"])
        self._has_rates = any(entry.max_rate is not None for entry in self.contract.actions)

    @property
    def num_actions(self) -> int:
        """Numbers of an action."""
        return len(self.contract.actions)

    @property
    def step_s(self) -> float:
        """Time between two steps for which the policy was made."""
        return self.contract.step_ms / _MS_PER_S

    def check(self, observations: Numbers, *, is_replay: bool) -> None:
        """Refuses what no policy of this contract could be shown.

        Raises:
          InputError: another shape, or a number that is not finite.
        """
        field = "observations" if is_replay else "observation"
        size = len(self.contract.observations)
        if observations.ndim != 2 or observations.shape[1] != size or not len(observations):
            got = f"{observations.shape[-1]}" if observations.ndim == 2 else "another shape"
            raise ShapeError(field, f"{size} numbers each", got)
        if not np.isfinite(observations).all():
            row, place = np.argwhere(~np.isfinite(observations))[0].tolist()
            where = f"observations[{row}]" if is_replay else field
            got = f"{observations[row, place]} at position {place}"
            raise InputError(where, "finite numbers", got, code="non_finite")

    def verdicts(
        self, observations: Numbers, age_ms: float | None, max_age_ms: float | None
    ) -> list[ActionStatus]:
        """Says which observations the policy is shown (`OK`), and why not the others.

        Args:
          observations: checked.
          age_ms: of the last one; None for unknown.
          max_age_ms: of the request.
        """
        limits = [each for each in (max_age_ms, self.contract.max_age_ms) if each is not None]
        is_stale = age_ms is not None and bool(limits) and age_ms > min(limits)
        fresh = ActionStatus.FALLBACK_STALE if is_stale else ActionStatus.OK
        return [
            fresh if is_usual else ActionStatus.FALLBACK_OOD
            for is_usual in self._usual(observations).tolist()
        ]

    def guarded(
        self, action: Numbers, last: Numbers | None, elapsed_s: float
    ) -> tuple[Numbers, ActionStatus]:
        """Gives what may be done of what the policy wants.

        Args:
          action: finite.
          last: that was given before, finite; None for none.
          elapsed_s: since then.
        """
        bounded, status = self.contract.bounded(action), ActionStatus.OK
        if (bounded != action).any():
            status = ActionStatus.CLIPPED
        if not self._has_rates or last is None:
            return bounded, status
        near = self.contract.bounded(last)
        limited = self.contract.rate_limited(bounded, near, max(0.0, elapsed_s))
        return limited, ActionStatus.RATE_LIMITED if (limited != bounded).any() else status

    def fallback(self, last: Numbers | None) -> Numbers:
        """Gives what is done where the policy cannot say; see `PolicyContract.fallback_action`."""
        return self.contract.fallback_action(last)
