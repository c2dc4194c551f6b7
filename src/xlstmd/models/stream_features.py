"""What the network sees of streams in an arena: `patching.make_features` for single tokens."""

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.patching import COUNT_SCALE, GAP_SCALE
from xlstmd.models.scaling import scaled
from xlstmd.models.stream_arena import StreamArena

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def stream_features(
    arena: StreamArena, slots: Ints, ends: Ints, fresh: Floats
) -> NDArray[np.float32]:
    """Gives the features of some tokens of each of B streams.

    Args:
      arena: of the streams.
      slots: [B].
      ends: [B, N], the point that each token stands before; may lie beyond the known ones.
      fresh: [B, N], points since the token before, as a share of the patch.

    Returns:
      [B, N, F].
    """
    config, known = arena.config, arena.known[slots]
    window = config.window_length
    places = ends[:, :, None] + np.arange(-window, 0)
    inside = (places >= 0) & (places < known[:, None, None])
    seen = arena.points[slots[:, None, None], np.where(inside, places, 0)]
    seen[~inside] = np.nan
    scale = arena.scale[slots]
    mean, deviation = (scale[name][:, None, None] for name in ("mean", "deviation"))
    values = scaled(seen, mean, deviation)
    present = ~np.isnan(values)

    there = ~np.isnan(arena.points[slots, : int(known.max())])
    last_known = np.minimum(ends, known[:, None]) - 1
    last, counted = _latest(there, last_known)
    rows = np.arange(len(slots))[:, None]
    last_value = arena.points[slots[:, None], np.maximum(last, 0)]
    last_value = scaled(last_value, mean[..., 0], deviation[..., 0])

    features = np.empty((*ends.shape, config.num_features), dtype=np.float32)
    features[..., :window] = np.where(present, values, 0.0)
    features[..., window : 2 * window] = present
    features[..., config.last_value_feature] = np.where(last >= 0, last_value, 0.0)
    features[..., -3] = np.log1p(np.where(last >= 0, ends - 1 - last, 0)) / GAP_SCALE
    features[..., -2] = np.log1p(counted[rows, last_known]) / COUNT_SCALE
    features[..., -1] = fresh
    return features


def _latest(there: NDArray[np.bool_], places: Ints) -> tuple[Ints, Ints]:
    """Gives the last observed point up to each of some places, -1 for none, and running counts."""
    counted = np.cumsum(there, axis=1, dtype=np.int64)
    index = np.where(there, np.arange(there.shape[1]), -1)
    latest = np.maximum.accumulate(index, axis=1)
    rows = np.arange(len(there))[:, None]
    return latest[rows, places], counted
