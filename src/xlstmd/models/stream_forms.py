"""Points into streams of an arena, and what the network sees of them: the definition, in NumPy.

`native_streams` does the same in compiled code; `best_forms` chooses.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.patching import COUNT_SCALE, GAP_SCALE
from xlstmd.models.renewal import Scale
from xlstmd.models.scaling import extended, scaled
from xlstmd.models.stream_arena import SCALE_FIELDS, StreamArena
from xlstmd.ops.native import load_native

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Forms(Protocol):
    """What moves the contexts of an arena."""

    def extend(self, slots: Ints, portions: Sequence[Floats]) -> NDArray[np.bool_]:
        """Takes points into the contexts of some different slots.

        Args:
          slots: [B].
          portions: of each slot, NaN = missing.

        Returns:
          [B], whether the scale was renewed.
        """

    def features(self, slots: Ints, ends: Ints, fresh: Floats) -> NDArray[np.float32]:
        """Gives the features of some tokens, as `patching.make_features` does.

        Args:
          slots: [B].
          ends: [B, N], the point that each token stands before; may lie beyond the known ones.
          fresh: [B, N], points since the token before, as a share of the patch.

        Returns:
          [B, N, F].
        """


def best_forms(arena: StreamArena) -> Forms:
    """Gives the compiled form where the library is there, else the definition."""
    if load_native().library is None:
        return NumpyForms(arena)
    from xlstmd.models.native_streams import NativeForms

    return NativeForms(arena)


class NumpyForms:
    """The definition."""

    def __init__(self, arena: StreamArena) -> None:
        """Keeps the arena."""
        self._arena = arena

    def extend(self, slots: Ints, portions: Sequence[Floats]) -> NDArray[np.bool_]:
        """Takes points in; see `Forms`."""
        each = zip(slots.tolist(), portions, strict=True)
        return np.array([self._extend(slot, values) for slot, values in each], dtype=np.bool_)

    def _extend(self, slot: int, values: Floats) -> bool:
        arena = self._arena
        scale = Scale(**dict(zip(SCALE_FIELDS, arena.scale[slot].tolist(), strict=True)))
        before = arena.points[slot, : arena.known[slot]]
        points, taken, renewed = extended(scale, before, values, arena.config.context_length)
        arena.points[slot, : len(points)] = points
        arena.points[slot, len(points) :] = np.nan
        arena.known[slot] = len(points)
        arena.observed[slot] += taken
        arena.scale[slot] = tuple(getattr(scale, name) for name in SCALE_FIELDS)
        return renewed

    def features(self, slots: Ints, ends: Ints, fresh: Floats) -> NDArray[np.float32]:
        """Gives features; see `Forms`."""
        arena = self._arena
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
