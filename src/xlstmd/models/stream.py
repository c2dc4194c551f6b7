"""Streams fed point by point, forecast at any time, each equal to feeding it whole. NumPy only.

Streams of one arena move forward together: those with a token to encode share a call of the
network, those that want a forecast share another one. A stream's numbers are the same to the last
bit as if it were alone, and whatever the portions it was fed in; see `stream_network`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ModelFailed
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.runtime import ForecastRuntime
from xlstmd.models.scored_row import ScoredRow
from xlstmd.models.stream_arena import StreamArena
from xlstmd.models.stream_network import best_network
from xlstmd.models.stream_scores import best_scores
from xlstmd.models.stream_step import StreamAnswer, StreamStep

Floats = NDArray[np.float64]
Errors = list[InputError | ModelFailed | None]
Scored = dict[int, ScoredRow]


class Streams:
    """Moves streams of an arena forward.

    Attributes:
      arena: of the streams.
    """

    def __init__(self, arena: StreamArena, runtime: ForecastRuntime) -> None:
        """Puts arena and runtime together.

        Args:
          arena: of the streams.
          runtime: that the arena was made for.
        """
        self.arena = arena
        self._network = best_network(arena, runtime)
        self._scores = best_scores(arena)

    def run(self, steps: Sequence[StreamStep]) -> list[StreamAnswer]:
        """Takes one step with each of some streams; no stream depends on the others.

        Args:
          steps: of different slots, checked by `check_request` and `as_points`.
        """
        if not steps:
            return []
        slots = [step.slot for step in steps]
        errors: Errors = [None] * len(steps)
        scored = self._scored(steps, slots)
        self._take_in(steps, scored, errors)
        observed = self.arena.counts(slots)
        forecasts = self._forecasts(steps, observed, errors)
        answers = []
        for row, step in enumerate(steps):
            wanted = step.anomaly_rate is not None and errors[row] is None
            answers.append(
                StreamAnswer(
                    observed=observed[row],
                    forecast=forecasts.get(row),
                    scores=scored[row].scores() if wanted else None,
                    error=errors[row],
                )
            )
        return answers

    def _scored(self, steps: Sequence[StreamStep], slots: Sequence[int]) -> Scored:
        """Gives the rows whose points are scored, by their places."""
        begun = self.arena.begun(slots)
        return {
            row: ScoredRow(step, self.arena)
            for row, step in enumerate(steps)
            if begun[row] or step.anomaly_rate is not None
        }

    def _take_in(self, steps: Sequence[StreamStep], scored: Scored, errors: Errors) -> None:
        rows = [row for row, step in enumerate(steps) if len(step.values)]
        while rows:
            if scored:
                self._let_stand(steps, rows, scored, errors)
                rows = [row for row in rows if errors[row] is None]
                if not rows:
                    return
            portions = [
                scored[row].next_portion() if row in scored else steps[row].values for row in rows
            ]
            if scored:
                self._score(rows, portions, scored)
            finite = self._network.append([steps[row].slot for row in rows], portions)
            for row, is_finite in zip(rows, finite, strict=True) if False in finite else ():
                if not is_finite:
                    errors[row] = ModelFailed("values", "a finite state", "NaN or infinity")
            rows = [row for row in scored if len(scored[row].rest) and errors[row] is None]

    def _score(self, rows: Sequence[int], portions: Sequence[Floats], scored: Scored) -> None:
        """Scores the points that are about to be taken in."""
        some = [
            (scored[row], portion)
            for row, portion in zip(rows, portions, strict=True)
            if row in scored
        ]
        if not some:
            return
        places = ([row.slot for row, _ in some], [points for _, points in some])
        made = self._scores.score(*places, [row.rate for row, _ in some])
        for (row, _), scores in zip(some, made, strict=True):
            row.take(scores)

    def _let_stand(
        self, steps: Sequence[StreamStep], rows: Sequence[int], scored: Scored, errors: Errors
    ) -> None:
        """Makes the forecasts under which the rows' next points are scored."""
        wanted = [row for row in rows if row in scored and scored[row].wants_forecast]
        if not wanted:
            return
        made = self._network.quantiles([steps[row].slot for row in wanted], 1)
        for row, scaled in zip(wanted, made, strict=True):
            try:
                scored[row].stand(scaled)
            except ModelFailed as error:
                errors[row] = error

    def _forecasts(
        self, steps: Sequence[StreamStep], observed: Sequence[int], errors: Errors
    ) -> dict[int, QuantileForecast]:
        """Makes the forecasts that are asked for, those of like horizons and levels together."""
        groups: dict[tuple[int, tuple[float, ...]], list[int]] = {}
        for row, step in enumerate(steps):
            if not step.horizon or errors[row] is not None:
                continue
            if observed[row]:
                groups.setdefault((step.horizon, step.quantile_levels), []).append(row)
            else:
                errors[row] = InputError(
                    "values", "at least one observed value", "none so far", code="empty"
                )
        forecasts: dict[int, QuantileForecast] = {}
        for (horizon, levels), rows in groups.items():
            made = self._network.forecast([steps[row].slot for row in rows], horizon, levels)
            for row, forecast in zip(rows, made, strict=True):
                if isinstance(forecast, ModelFailed):
                    errors[row] = forecast
                else:
                    forecasts[row] = forecast
        return forecasts
