"""Observations of any environment as numbers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_numbers(observations: Any, count: int) -> NDArray[np.float64]:
    """Gives observations of some environments, vectors or choices, as numbers [N, F]."""
    numbers: NDArray[np.float64] = np.array(observations, dtype=np.float64).reshape(count, -1)
    return numbers
