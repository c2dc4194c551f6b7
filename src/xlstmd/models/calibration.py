"""When a surprise is rare enough for a flag: judged by the stream's own past. NumPy only.

A conformal test: with n remembered surprises, of which k are at least as large as the new one, the
new one is flagged where

    (k + 1) / (n + 1) <= rate.

As long as surprises are exchangeable that happens with at most the chance `rate`, whatever their
distribution, so that a forecaster whose bands are too narrow or too wide flags no more and no less.
Where n is too small for a rank of that rarity (n + 1 < 1 / rate: always at first, and for rates
below 1/1000), the new one must be larger than all that are remembered, and the forecast itself must
give its two tails no more than the rate.

Source: Laxhammar and Falkman, "Conformal prediction for distribution-independent anomaly detection
in streaming vessel data", 2010; Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
World", 2005, section 2.3.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, SnapshotDamaged

Floats = NDArray[np.float64]

DEFAULT_RATE: Final = 0.01

# Ranks of the newest one among so many others go down to 1/1000.
REMEMBERED: Final = 999


def check_rate(rate: Any) -> float:
    """Gives the rate of flags that is asked for.

    Raises:
      InputError: it is no number strictly between 0 and 1.
    """
    field, expected = "anomaly_rate", "a number strictly between 0 and 1"
    try:
        number = float(rate)
    except (TypeError, ValueError):
        raise InputError(field, expected, repr(rate)[:40], code="bad_type") from None
    if not 0.0 < number < 1.0:
        code = "out_of_range" if math.isfinite(number) else "non_finite"
        raise InputError(field, expected, str(number), code=code)
    return number


class Calibration:
    """The newest surprises of one stream, and the ranks of further ones among them."""

    def __init__(self, surprises: NDArray[np.float32] | None = None) -> None:
        """Starts without a surprise, or goes on with what is in an array.

        Args:
          surprises: [REMEMBERED], changed in place; None makes one.
        """
        # In time order, newest last; minus infinity where there is none yet.
        fresh = np.full(REMEMBERED, -np.inf, dtype=np.float32)
        self._newest = fresh if surprises is None else surprises

    def flags(self, surprises: Floats, rate: float) -> NDArray[np.bool_]:
        """Judges surprises, each by those before it, and remembers them as float32.

        Args:
          surprises: [N], in time order; NaN is neither judged nor remembered.
          rate: of flags, strictly between 0 and 1.

        Returns:
          [N]; False where there is no surprise.
        """
        there = ~np.isnan(surprises)
        fresh = surprises[there].astype(np.float32)
        flagged = np.zeros(len(surprises), dtype=np.bool_)
        if len(fresh):
            flagged[there] = self._judged(fresh, rate)
            self._newest[:] = np.concatenate([self._newest, fresh])[-REMEMBERED:]
        return flagged

    def _judged(self, fresh: NDArray[np.float32], rate: float) -> NDArray[np.bool_]:
        # Of single points, which is how most streams come, this is the quickest.
        line = np.concatenate([self._newest, fresh])
        larger = np.array(
            [
                np.count_nonzero(line[place : place + REMEMBERED] >= surprise)
                for place, surprise in enumerate(fresh)
            ]
        )
        count = np.minimum(self.count + np.arange(len(fresh)), REMEMBERED)
        allowed = rate * (count + 1)
        record = (larger == 0) & (fresh >= -math.log(rate / 2.0))
        ranked: NDArray[np.bool_] = larger + 1 <= allowed
        return np.where(allowed >= 1.0, ranked, record).astype(np.bool_)

    @property
    def count(self) -> int:
        """Surprises that are remembered."""
        return int(np.isfinite(self._newest).sum())


def stored(arrays: Mapping[str, NDArray[Any]], name: str, like: NDArray[Any]) -> NDArray[Any]:
    """Gives a copy of a stored array.

    Raises:
      SnapshotDamaged: there is none of that name, shape and type.
    """
    array = arrays.get(name)
    if array is None or (array.shape, array.dtype) != (like.shape, like.dtype):
        got = "nothing" if array is None else f"{array.dtype} of shape {list(array.shape)}"
        raise SnapshotDamaged(f"{name} as {like.dtype} of shape {list(like.shape)}", got)
    return array.copy()
