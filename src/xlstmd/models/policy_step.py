"""What an episode is given in one step, and what its policy makes of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyStep:
    """Observations of one episode.

    Args:
      slot: of its memory; changed in place.
      observations: [N, F], finite, oldest first; may be none.
    """

    slot: int
    observations: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer:
    """What became of a step.

    Args:
      actions: [N, A], within the contract's bounds or not; those of no use may be any numbers.
      is_sound: [N], False where numbers or the memory after them were not finite: that observation
        has left the memory as it was.
    """

    actions: Numbers
    is_sound: NDArray[np.bool_]
