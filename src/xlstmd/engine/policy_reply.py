"""The reply to a policy request: kept with the session for a retry, and for the next action."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.policy_status import OF_THE_POLICY, STATUSES, ActionStatus
from xlstmd.engine.session_payload import pack_arrays
from xlstmd.errors import SnapshotDamaged

Numbers = NDArray[np.float64]

FORM: Final = {"actions": ("<f8", 2), "statuses": ("|u1", 1), "episode": ("<i8", 1)}

# Of an episode: its steps, and whether the last ones are still to be completed.
_EPISODE_NUMBERS: Final = 2
_MOST_STEPS: Final = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReply:
    """Actions for one or more observations.

    Args:
      actions: [N, A].
      statuses: N.
      episode_step: observations of this episode, these included.
      pending: whether the memory was to take them in after they were answered.
      given_at: monotonic seconds; None where that was in another process.
    """

    actions: Numbers
    statuses: tuple[ActionStatus, ...]
    episode_step: int
    pending: bool = False
    given_at: float | None = None

    @property
    def count(self) -> int:
        """How many numbers the request has taken."""
        return len(self.statuses)

    @property
    def last(self) -> Numbers:
        """The last action."""
        last: Numbers = self.actions[-1]
        return last

    @property
    def state_advanced(self) -> bool:
        """Whether the memory had taken in one of the observations when they were answered."""
        return any(status in OF_THE_POLICY for status in self.statuses)

    @property
    def nbytes(self) -> int:
        """Bytes of the actions."""
        return self.actions.nbytes

    def pack(self) -> bytes:
        """Writes it."""
        codes = [STATUSES.index(status) for status in self.statuses]
        return pack_arrays(
            {
                "actions": self.actions,
                "statuses": np.array(codes, dtype=np.uint8),
                "episode": np.array([self.episode_step, self.pending], dtype=np.int64),
            }
        )


def read_policy_reply(arrays: dict[str, NDArray[np.generic]]) -> PolicyReply:
    """Reads the arrays that `PolicyReply.pack` has written, of the types in `FORM`.

    Raises:
      SnapshotDamaged: they cannot be of a reply.
    """
    actions, codes, episode = (np.asarray(arrays[name]) for name in FORM)
    steps = int(episode[0]) if len(episode) == _EPISODE_NUMBERS else -1
    is_one = len(codes) == len(actions) > 0 and codes.max() < len(STATUSES)
    if not is_one or not np.isfinite(actions).all() or not 0 <= steps <= _MOST_STEPS:
        raise SnapshotDamaged("a reply with finite actions and their statuses", "another one")
    return PolicyReply(
        actions=actions,
        statuses=tuple(STATUSES[code] for code in codes.tolist()),
        episode_step=steps,
        pending=bool(episode[1]),
    )
