"""From points to tokens: what the network sees of a series. NumPy only.

A token stands at an end `e`: it sees the `window_length` points before `e` and forecasts the
`patch_length` points from `e` on. Windows overlap, so that a token in the middle of a patch looks
like any other one: the forecast at any moment needs no padding and no other weights.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.config import ForecasterConfig

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Bring the logs of distances and counts near to one.
GAP_SCALE = 4.0
COUNT_SCALE = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPlan:
    """Where the tokens of B rows stand.

    Attributes:
      ends: [B, N], the point that each token stands before; padding tokens have any.
      fresh: [B, N], points since the token before, as a share of the patch.
      valid: [B, N], False where a token is padding (always on the left).
    """

    ends: Ints
    fresh: Floats
    valid: NDArray[np.bool_]


def plan_tokens(start: Ints, known: Ints, future: Ints, patch_length: int) -> TokenPlan:
    """Places tokens: at each full patch, at the last known point, at each patch to come.

    Args:
      start: [B], first point of each row.
      known: [B], the point after the last known one; above `start`.
      future: [B], tokens after the one at `known`.
      patch_length: P.
    """
    full = (known - start - 1) // patch_length
    counts = full + 1 + future
    width = int(counts.max())
    place = np.arange(width)[None, :] - (width - counts)[:, None]
    beyond = place - full[:, None]
    ends = np.where(
        beyond < 0,
        start[:, None] + (place + 1) * patch_length,
        known[:, None] + beyond * patch_length,
    )
    partial = (known - start - full * patch_length)[:, None] / patch_length
    fresh = np.where(beyond == 0, partial, 1.0)
    return TokenPlan(ends=ends, fresh=fresh, valid=place >= 0)


def make_features(values: Floats, plan: TokenPlan, config: ForecasterConfig) -> NDArray[np.float32]:
    """Gives what the network sees.

    Args:
      values: [B, L], scaled, NaN where nothing is known: missing, before the start, to come.
      plan: of the tokens; ends may lie beyond L.
      config: sets the window.

    Returns:
      [B, N, F]: values (0 where missing), presence flags, last observed value, distance to it,
      number of observed points, share of new points.
    """
    window = config.window_length
    length = values.shape[1]
    ends = np.where(plan.valid, plan.ends, 0)
    right = max(int(ends.max()) - length, 0)
    padded = np.pad(values, ((0, 0), (window, right)), constant_values=np.nan)
    rows = np.arange(len(values))[:, None]
    seen = padded[rows[:, :, None], ends[:, :, None] + np.arange(window)]
    present = ~np.isnan(seen)

    known = ~np.isnan(padded)
    latest = np.maximum.accumulate(np.where(known, np.arange(padded.shape[1]), -1), axis=1)
    counted = np.cumsum(known, axis=1)
    before = ends + window - 1
    last = latest[rows, before]
    has_last = last >= 0
    last_value = np.where(has_last, padded[rows, np.maximum(last, 0)], 0.0)
    gap = np.where(has_last, before - last, 0)

    features = np.empty((*ends.shape, config.num_features), dtype=np.float32)
    features[..., :window] = np.where(present, seen, 0.0)
    features[..., window : 2 * window] = present
    features[..., config.last_value_feature] = last_value
    features[..., -3] = np.log1p(gap) / GAP_SCALE
    features[..., -2] = np.log1p(counted[rows, before]) / COUNT_SCALE
    features[..., -1] = plan.fresh
    features[~plan.valid] = 0.0
    return features
