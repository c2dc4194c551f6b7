"""Quantile functions out of a few levels: any level, and the mean. NumPy only.

Between the given levels the quantile function is linear; beyond the outermost ones the tails are
exponential, with the slope between the two outermost levels:

    Q(p) = Q_1 + s ln(p / p_1) for p < p_1,   s = (Q_2 - Q_1) / ln(p_2 / p_1)

and likewise above. The mean is the integral of that function over (0, 1).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEAN_METHOD = "quantile_integral"


def at_levels(quantiles: Floats, known: Sequence[float], wanted: Sequence[float]) -> Floats:
    """Gives other levels of quantile functions.

    Args:
      quantiles: [..., Q], not falling.
      known: their Q levels, rising.
      wanted: strictly between 0 and 1, in any order.

    Returns:
      [..., number of wanted levels], in their order; a higher level never has a lower value.
    """
    levels = np.asarray(known)
    result = np.empty((*quantiles.shape[:-1], len(wanted)))
    low, high = _tails(quantiles, levels)
    for index, level in enumerate(wanted):
        if level < levels[0]:
            result[..., index] = quantiles[..., 0] + low * np.log(level / levels[0])
        elif level > levels[-1]:
            share = (1.0 - level) / (1.0 - levels[-1])
            result[..., index] = quantiles[..., -1] - high * np.log(share)
        else:
            right = int(np.searchsorted(levels, level))
            if levels[right] == level:
                result[..., index] = quantiles[..., right]
                continue
            share = (level - levels[right - 1]) / (levels[right] - levels[right - 1])
            below, above = quantiles[..., right - 1], quantiles[..., right]
            result[..., index] = below + share * (above - below)
    return result


def mean(quantiles: Floats, known: Sequence[float]) -> Floats:
    """Gives the mean of quantile functions [..., Q] with rising levels."""
    levels = np.asarray(known)
    low, high = _tails(quantiles, levels)
    inner = (0.5 * (quantiles[..., 1:] + quantiles[..., :-1])) @ np.diff(levels)
    below = levels[0] * (quantiles[..., 0] - low)
    above = (1.0 - levels[-1]) * (quantiles[..., -1] + high)
    total: Floats = inner + below + above
    return total


def _tails(quantiles: Floats, levels: Floats) -> tuple[Floats, Floats]:
    low = (quantiles[..., 1] - quantiles[..., 0]) / np.log(levels[1] / levels[0])
    ratio = np.log((1.0 - levels[-2]) / (1.0 - levels[-1]))
    high = (quantiles[..., -1] - quantiles[..., -2]) / ratio
    return low, high
