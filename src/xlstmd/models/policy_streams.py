"""Episodes of one policy side by side, as a daemon serves them: memories in slots, steps in rows.

NumPy and the policy's runtime; no torch.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import SnapshotDamaged
from xlstmd.models.policy import Policy
from xlstmd.models.policy_runtime import Floats, PolicyRuntime
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep

Numbers = NDArray[np.float64]

_STATE: Final = "state"

# Rows of one call of the runtime; more go in several.
_ROWS: Final = 64


class PolicyArena:
    """Slots of memories; which slot belongs to whom is the caller's business.

    Attributes:
      state: [slots + rows, S]; the last rows are of no slot, steps are computed into them.
    """

    def __init__(self, runtime: PolicyRuntime, slots: int, rows: int) -> None:
        """Allocates all slots, each with an empty memory."""
        self.state: Floats = runtime.init_state(slots + rows)
        self._empty: Floats = runtime.init_state(1)[0]

    def clear(self, slot: int) -> None:
        """Empties a memory; nothing of the episode before stays in it."""
        self.state[slot] = self._empty

    def copy(self, source: int, target: int) -> None:
        """Makes a slot hold what another one holds."""
        self.state[target] = self.state[source]

    def export(self, slot: int) -> dict[str, NDArray[Any]]:
        """Gives a memory as an array of one name, shape and type."""
        return {_STATE: self.state[slot].copy()}

    def restore(self, slot: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Makes a slot hold a memory that was exported.

        Raises:
          SnapshotDamaged: it is none of this policy.
        """
        state = arrays.get(_STATE)
        expected = f"one array {_STATE} of {len(self._empty)} float32"
        if state is None or len(arrays) != 1:
            raise SnapshotDamaged(expected, ", ".join(sorted(arrays))[:80] or "none")
        if state.dtype != np.float32 or state.shape != self._empty.shape:
            raise SnapshotDamaged(expected, f"{state.dtype} {list(state.shape)}")
        if not np.isfinite(state).all():
            raise SnapshotDamaged("finite numbers", "others")
        self.state[slot] = state


class PolicyStreams:
    """Moves episodes forward; a row's outcome depends on no other row.

    Attributes:
      arena: the memories.
    """

    def __init__(self, policy: Policy, slots: int) -> None:
        """Allocates all slots."""
        self.arena = PolicyArena(policy.runtime, slots, _ROWS)
        self._policy = policy
        self._actions = len(policy.contract.actions)
        self._stepper = policy.runtime.stepper(self.arena.state, _ROWS)
        self._spare = np.arange(slots, slots + _ROWS)

    def run(self, steps: Sequence[PolicyStep]) -> list[PolicyAnswer]:
        """Takes a step with each of some slots, all different."""
        lengths = [len(step.observations) for step in steps]
        actions = [np.zeros((length, self._actions)) for length in lengths]
        is_sound = [np.zeros(length, dtype=np.bool_) for length in lengths]
        for place in range(max(lengths, default=0)):
            rows = [row for row, length in enumerate(lengths) if length > place]
            for first in range(0, len(rows), _ROWS):
                some = rows[first : first + _ROWS]
                seen = np.stack([steps[row].observations[place] for row in some])
                given, sound = self._step(seen, [steps[row].slot for row in some])
                for number, row in enumerate(some):
                    actions[row][place], is_sound[row][place] = given[number], sound[number]
        return [
            PolicyAnswer(actions=given, is_sound=sound)
            for given, sound in zip(actions, is_sound, strict=True)
        ]

    def _step(self, seen: Numbers, slots: list[int]) -> tuple[Numbers, NDArray[np.bool_]]:
        """Takes in an observation [B, F] each; memories that would not be finite stay as before."""
        rows, stepper = len(slots), self._stepper
        spare = self._spare[:rows]
        stepper.x[:rows] = self._policy.encoder(seen)
        stepper.source[:rows] = slots
        stepper.target[:rows] = spare
        stepper.step(rows)
        after = self.arena.state[spare]
        is_finite = np.isfinite(stepper.y[:rows]).all(axis=1) & np.isfinite(after).all(axis=1)
        sound: NDArray[np.bool_] = np.asarray(is_finite)
        self.arena.state[np.array(slots)[sound]] = after[sound]
        outputs = np.where(sound[:, None], stepper.y[:rows], np.float32(0.0))
        return self._policy.decoder(outputs), sound
