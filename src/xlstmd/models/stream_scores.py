"""What scores the points of an arena's streams: the definition, and the best choice. NumPy only."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.stream_arena import StreamArena
from xlstmd.ops.native import load_native

Floats = NDArray[np.float64]


class StreamScores(Protocol):
    """Scores points of some different streams, each under the forecast that stands there."""

    def score(
        self, slots: Sequence[int], portions: Sequence[Floats], rates: Sequence[float]
    ) -> Sequence[AnomalyScores]:
        """Scores the next points and remembers their surprises; see `AnomalyScorer.score`.

        Args:
          slots: of the streams.
          portions: at most `AnomalyScorer.room` points of each, which are not taken in yet.
          rates: of flags.
        """


def best_scores(arena: StreamArena) -> StreamScores:
    """Gives the compiled form where the library is there, else the definition."""
    if load_native().library is None:
        return NumpyScores(arena)
    from xlstmd.models.native_stream_scores import NativeScores

    return NativeScores(arena)


class NumpyScores:
    """The definition."""

    def __init__(self, arena: StreamArena) -> None:
        """Keeps the arena."""
        self._arena = arena

    def score(
        self, slots: Sequence[int], portions: Sequence[Floats], rates: Sequence[float]
    ) -> Sequence[AnomalyScores]:
        """Scores points; see `StreamScores`."""
        arena = self._arena
        return [
            arena.scorer(slot).score(points, int(arena.observed[slot]), rate)
            for slot, points, rate in zip(slots, portions, rates, strict=True)
        ]
