"""Streams fed point by point, forecast at any time, each equal to feeding it whole. NumPy only.

Streams of one arena move forward together: those with a token to encode share a call of the
network, those that want a forecast share another one. A stream's numbers are the same to the last
bit as if it were alone, and whatever the portions it was fed in: what was there at a renewal of the
scale is encoded in one call, every later token in one of its own, so that which tokens share a
call, and with it the rounding, depends on the history alone.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ModelFailed
from xlstmd.models.anomaly import AnomalyScorer
from xlstmd.models.anomaly_scores import AnomalyScores, joined
from xlstmd.models.calibration import DEFAULT_RATE
from xlstmd.models.predictor import finished
from xlstmd.models.quantile_forecast import QuantileForecast, rows_of
from xlstmd.models.runtime import ForecastRuntime
from xlstmd.models.stream_arena import StreamArena
from xlstmd.models.stream_forms import best_forms
from xlstmd.models.stream_step import StreamAnswer, StreamStep

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
        self._config = arena.config
        self._runtime = runtime
        self._forms = best_forms(arena)

    def run(self, steps: Sequence[StreamStep]) -> list[StreamAnswer]:
        """Takes one step with each of some streams; no stream depends on the others.

        Args:
          steps: of different slots, checked by `check_request` and `as_points`.
        """
        rows = [_Row(step, self.arena) for step in steps]
        self._take_in(rows)
        self._check_states(rows)
        self._forecast([row for row in rows if row.step.horizon and row.error is None])
        return [row.answer(self.arena) for row in rows]

    def append(self, slots: Ints, portions: Sequence[Floats]) -> None:
        """Takes in points of different streams, unscored.

        The last patch stays out of the state: see `patching`.
        """
        arena = self.arena
        again = slots[self._forms.extend(slots, portions)]
        if len(again):
            arena.forget_state(again)
            wanted = self._full(arena.scale["anchor"][again])
            for count in np.unique(wanted[wanted > 0]).tolist():
                self._encode(again[wanted == count], count)
        while True:
            behind = slots[arena.encoded[slots] < self._full(arena.known[slots])]
            if not len(behind):
                return
            self._encode(behind, 1)

    def quantiles(self, slots: Ints, outputs: int) -> NDArray[np.float32]:
        """Gives scaled quantiles of the patches to come, [B, outputs * P, Q]; changes nothing."""
        arena, patch = self.arena, self._config.patch_length
        known, encoded = arena.known[slots], arena.encoded[slots]
        ends = known[:, None] + patch * np.arange(outputs)
        fresh = np.ones(ends.shape)
        fresh[:, 0] = (known - encoded * patch) / patch
        features = self._forms.features(slots, ends, fresh)
        valid = np.ones(ends.shape, dtype=np.bool_)
        quantiles, _ = self._runtime.prefill(features, valid, arena.state[slots], outputs)
        return quantiles.reshape(len(slots), outputs * patch, -1)

    def _full(self, points: Ints) -> Ints:
        """Gives how many tokens of so many points lie in the state."""
        full: Ints = np.maximum(points - 1, 0) // self._config.patch_length
        return full

    def _encode(self, slots: Ints, count: int) -> None:
        """Moves states on by so many tokens."""
        arena = self.arena
        tokens = arena.encoded[slots][:, None] + 1 + np.arange(count)
        ends = tokens * self._config.patch_length
        features = self._forms.features(slots, ends, np.ones(ends.shape))
        self._runtime.advance(features, arena.state, slots)
        arena.encoded[slots] += count

    def _take_in(self, rows: "list[_Row]") -> None:
        arena = self.arena
        while rows := [row for row in rows if len(row.rest) and row.error is None]:
            self._let_stand([row for row in rows if row.wants_forecast(arena)])
            rows = [row for row in rows if row.error is None]
            if rows:
                slots = np.array([row.step.slot for row in rows], dtype=np.int64)
                self.append(slots, [row.next_portion(arena) for row in rows])

    def _check_states(self, rows: "Sequence[_Row]") -> None:
        """Notes whose state has become something else than numbers: it must not be kept."""
        slots = np.array([row.step.slot for row in rows], dtype=np.int64)
        fine = np.logical_and.reduce(np.isfinite(self.arena.state[slots]), axis=1)
        for row, is_fine in zip(rows, fine.tolist(), strict=True):
            if not is_fine and row.error is None:
                row.error = ModelFailed("values", "a finite state", "NaN or infinity")

    def _let_stand(self, rows: "Sequence[_Row]") -> None:
        """Makes the forecasts under which the rows' next points are scored."""
        if not rows:
            return
        slots = np.array([row.step.slot for row in rows], dtype=np.int64)
        for row, scaled in zip(rows, self.quantiles(slots, 1), strict=True):
            row.stand(scaled, self.arena)

    def _forecast(self, rows: "Sequence[_Row]") -> None:
        """Makes the forecasts that are asked for, those of like horizons and levels together."""
        groups: dict[tuple[int, tuple[float, ...]], list[_Row]] = {}
        for row in rows:
            if row.has_observed(self.arena):
                groups.setdefault((row.step.horizon, row.step.quantile_levels), []).append(row)
        for (horizon, levels), some in groups.items():
            slots = np.array([row.step.slot for row in some], dtype=np.int64)
            outputs = -(-horizon // self._config.patch_length)
            raw = self.quantiles(slots, outputs)[:, :horizon].astype(np.float64)
            for row, forecast in zip(some, self._finished(slots, raw, levels), strict=True):
                row.take(forecast)

    def _finished(
        self, slots: Ints, raw: Floats, levels: tuple[float, ...]
    ) -> "Sequence[QuantileForecast | ModelFailed]":
        scale, known = self.arena.scale[slots], self._config.quantile_levels
        means, deviations = (scale[name][:, None] for name in ("mean", "deviation"))
        try:
            return rows_of(finished(raw, means, deviations, known, levels))
        except ModelFailed as error:
            if len(slots) == 1:
                return [error]
        # One of them failed: each by itself.
        rows = np.arange(len(slots))[:, None]
        return [self._finished(slots[row], raw[row], levels)[0] for row in rows]


class _Row:
    """A step on its way."""

    def __init__(self, step: StreamStep, arena: StreamArena) -> None:
        self.step = step
        self.rest = step.values
        self.error: InputError | ModelFailed | None = None
        self._parts: list[AnomalyScores] = []
        self._forecast: QuantileForecast | None = None
        self._scorer: AnomalyScorer | None = None
        if step.anomaly_rate is not None or arena.is_scored(step.slot):
            self._scorer = arena.scorer(step.slot)
            self._scorer.begin()

    def wants_forecast(self, arena: StreamArena) -> bool:
        observed = int(arena.observed[self.step.slot])
        return self._scorer is not None and self._scorer.wants_forecast(observed)

    def stand(self, scaled: NDArray[np.float32], arena: StreamArena) -> None:
        scale, observed = arena.scale[self.step.slot], int(arena.observed[self.step.slot])
        if self._scorer is None:
            return
        try:
            self._scorer.stand(scaled, float(scale["mean"]), float(scale["deviation"]), observed)
        except ModelFailed as error:
            self.error = error

    def next_portion(self, arena: StreamArena) -> Floats:
        """Gives the points to take in now, scored where the stream's points are."""
        portion = self.rest
        if self._scorer is not None:
            observed = int(arena.observed[self.step.slot])
            portion = self.rest[: self._scorer.room(observed)]
            rate = DEFAULT_RATE if self.step.anomaly_rate is None else self.step.anomaly_rate
            self._parts.append(self._scorer.score(portion, observed, rate))
        self.rest = self.rest[len(portion) :]
        return portion

    def has_observed(self, arena: StreamArena) -> bool:
        """Says whether there is something to forecast from; notes the error where there is not."""
        if arena.observed[self.step.slot]:
            return True
        self.error = InputError(
            "values", "at least one observed value", "none so far", code="empty"
        )
        return False

    def take(self, forecast: QuantileForecast | ModelFailed) -> None:
        """Keeps what was asked for, or why it cannot be."""
        if isinstance(forecast, ModelFailed):
            self.error = forecast
        else:
            self._forecast = forecast

    def answer(self, arena: StreamArena) -> StreamAnswer:
        """Gives what became of it."""
        wanted = self.step.anomaly_rate is not None and self.error is None
        return StreamAnswer(
            observed=int(arena.observed[self.step.slot]),
            forecast=self._forecast,
            scores=joined(self._parts) if wanted else None,
            error=self.error,
        )
