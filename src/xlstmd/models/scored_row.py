"""A step of a stream whose points are scored, on its way. NumPy only."""

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.anomaly import room, wants_forecast
from xlstmd.models.anomaly_scores import AnomalyScores, joined
from xlstmd.models.calibration import DEFAULT_RATE
from xlstmd.models.stream_arena import StreamArena
from xlstmd.models.stream_step import StreamStep

Floats = NDArray[np.float64]


class ScoredRow:
    """Cuts a step's points where a new forecast has to stand, and gathers their scores.

    Attributes:
      slot: of the stream.
      rate: of flags.
      rest: points that are not taken in yet.
    """

    def __init__(self, step: StreamStep, arena: StreamArena) -> None:
        """Notes that scores are asked for.

        Args:
          step: of a stream that is scored, or will be from now on.
          arena: of its slot.
        """
        self.slot = step.slot
        self.rate = DEFAULT_RATE if step.anomaly_rate is None else step.anomaly_rate
        self.rest = step.values
        self._arena = arena
        self._patch = arena.config.patch_length
        self._parts: list[AnomalyScores] = []
        arena.begin_scores(step.slot)

    @property
    def wants_forecast(self) -> bool:
        """Whether a new forecast has to stand before the next point."""
        return wants_forecast(self._patch, self._observed, self._arena.made_at(self.slot))

    def stand(self, scaled: NDArray[np.float32]) -> None:
        """Lets a forecast [P, Q] stand for the next points, in units of the scale.

        Raises:
          ModelFailed: it is not finite.
        """
        scale, scorer = self._arena.scale[self.slot], self._arena.scorer(self.slot)
        scorer.stand(scaled, float(scale["mean"]), float(scale["deviation"]), self._observed)

    def next_portion(self) -> Floats:
        """Gives the next points, which one forecast stands for."""
        size = room(self._patch, self._observed)
        portion, self.rest = self.rest[:size], self.rest[size:]
        return portion

    def take(self, scores: AnomalyScores) -> None:
        """Keeps the scores of a portion."""
        self._parts.append(scores)

    def scores(self) -> AnomalyScores:
        """Gives the scores of all points so far."""
        return joined(self._parts)

    @property
    def _observed(self) -> int:
        return self._arena.counts((self.slot,))[0]
