"""Whether two programs computed the same thing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import BenchmarkError


def as_array(result: Any) -> NDArray[np.float64]:
    """Gives a tensor's or an array's numbers in float64."""
    if hasattr(result, "detach"):
        result = result.detach().float().cpu().numpy()
    return np.asarray(result, dtype=np.float64)


def difference(result: Any, reference: Any) -> float:
    """Gives the largest difference in units of the reference's standard deviation.

    Raises:
      BenchmarkError: the shapes differ, or the reference is constant.
    """
    ours, theirs = as_array(result), as_array(reference)
    if ours.shape != theirs.shape:
        raise BenchmarkError(f"parity: expected a result {theirs.shape}, got {ours.shape}")
    spread = float(theirs.std())
    if not spread > 0.0:
        raise BenchmarkError(f"parity: expected a result with a spread, got {spread}")
    # A NaN on either side makes a NaN, which no tolerance admits.
    return float(np.abs(ours - theirs).max()) / spread


def require(who: str, found: float, tolerance: float) -> None:
    """Refuses a result that is too far from the official one.

    Raises:
      BenchmarkError: it is.
    """
    if not found <= tolerance:
        raise BenchmarkError(
            f"{who}: expected the official result within {tolerance:g} of its spread, "
            f"got a difference of {found:.3g}"
        )
