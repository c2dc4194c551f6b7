"""What a step of a stream computes: points in, then a forecast."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.step_work import STEP_BYTES
from xlstmd.errors import InputError, ModelFailed
from xlstmd.models.anomaly_scores import joined
from xlstmd.models.stream_step import StreamAnswer, StreamStep

FloatArray = NDArray[np.float64]

# Points that one model call takes in: with scores, tens of milliseconds for the others to wait.
PORTION_POINTS: Final = 4096

_SCORE_BYTES: Final = 17
_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamWork:
    """Implements `StepWork`; fields as in `AppendTask`."""

    values: FloatArray
    horizon: int
    quantile_levels: tuple[float, ...]
    anomaly_rate: float | None

    @property
    def field(self) -> str:
        """See `StepWork.field`."""
        return "append"

    @property
    def portions(self) -> int:
        """See `StepWork.portions`."""
        return max(1, -(-len(self.values) // PORTION_POINTS))

    @property
    def nbytes(self) -> int:
        """See `StepWork.nbytes`."""
        scores = 0 if self.anomaly_rate is None else _SCORE_BYTES * len(self.values)
        forecast = _NUMBER_BYTES * self.horizon * (len(self.quantile_levels) + 2)
        return self.values.nbytes + scores + forecast + STEP_BYTES

    def points(self, portion: int) -> int:
        """See `StepWork.points`."""
        left = len(self.values) - portion * PORTION_POINTS
        return min(max(left, 0), PORTION_POINTS) + self._horizon(portion) + 1

    def step(self, slot: int, portion: int) -> StreamStep:
        """See `StepWork.step`."""
        taken = portion * PORTION_POINTS
        return StreamStep(
            slot=slot,
            values=self.values[taken : taken + PORTION_POINTS],
            horizon=self._horizon(portion),
            quantile_levels=self.quantile_levels,
            anomaly_rate=self.anomaly_rate,
        )

    def fault(self, answer: StreamAnswer) -> InputError | ModelFailed | None:
        """See `StepWork.fault`."""
        error = answer.error
        if isinstance(error, InputError):
            return InputError(self.field, error.expected, error.got, code=error.code)
        if error is not None or not _is_finite(answer):
            got = "numbers that are none, or beyond float64"
            return ModelFailed(self.field, "a finite answer", got)
        return None

    def whole(self, answers: Sequence[StreamAnswer]) -> StreamAnswer:
        """See `StepWork.whole`."""
        scores = [answer.scores for answer in answers if answer.scores is not None]
        return replace(answers[-1], scores=joined(scores)) if len(scores) > 1 else answers[-1]

    def _horizon(self, portion: int) -> int:
        return self.horizon if portion + 1 == self.portions else 0


def _is_finite(answer: StreamAnswer) -> bool:
    forecast = answer.forecast
    return forecast is None or all(
        bool(np.isfinite(part).all())
        for part in (forecast.mean, forecast.median, forecast.quantiles)
    )
