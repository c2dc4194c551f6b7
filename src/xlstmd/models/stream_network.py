"""What moves the streams of an arena through their network: the definition, and the best choice.

Tokens of a stream enter the network in calls that depend on its history alone: what was there at a
renewal of the scale in one call, every later token in one of its own. So which tokens share a call,
and with it the rounding, is the same in any batch and whatever the portions the points came in.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ModelFailed
from xlstmd.models.quantile_forecast import QuantileForecast, rows_of
from xlstmd.models.quantile_plan import forecast_plan
from xlstmd.models.quantiles import MEAN_METHOD, InUnits, best_in_units
from xlstmd.models.runtime import ForecastRuntime
from xlstmd.models.stream_arena import StreamArena
from xlstmd.models.stream_forms import Forms, best_forms
from xlstmd.ops.native import load_native

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class StreamNetwork(Protocol):
    """Moves some streams of an arena, whose slots are different ones."""

    def append(self, slots: Sequence[int], portions: Sequence[Floats]) -> Sequence[bool]:
        """Takes in points, NaN = missing; the last patch stays out of the state: see `patching`.

        Returns:
          Whether all numbers of each stream's state are finite.
        """

    def quantiles(self, slots: Sequence[int], outputs: int) -> NDArray[np.float32]:
        """Gives scaled quantiles of the patches to come, [B, outputs * P, Q]; changes nothing."""

    def forecast(
        self, slots: Sequence[int], horizon: int, levels: tuple[float, ...]
    ) -> "Sequence[QuantileForecast | ModelFailed]":
        """Forecasts each stream by itself, in its units; changes nothing.

        Args:
          slots: of streams with at least one observed point.
          horizon: points to forecast.
          levels: of quantiles.
        """


def best_network(arena: StreamArena, runtime: ForecastRuntime) -> StreamNetwork:
    """Gives the compiled form where the runtime is compiled too, else the definition."""
    if load_native().library is not None:
        from xlstmd.models.native_runtime import NativeRuntime

        if isinstance(runtime, NativeRuntime):
            from xlstmd.models.native_stream_network import NativeStreamNetwork

            return NativeStreamNetwork(arena, runtime)
    return AnyStreamNetwork(arena, runtime, best_forms(arena))


def forecasts_of(
    parts: InUnits, levels: tuple[float, ...]
) -> "list[QuantileForecast | ModelFailed]":
    """Gives each row's forecast, or that its numbers are not finite."""
    mean, median, quantiles, finite = parts
    whole = QuantileForecast(
        mean=mean,
        median=median,
        quantiles=quantiles,
        quantile_levels=levels,
        mean_method=MEAN_METHOD,
    )
    flags = finite.tolist()
    rows: list[QuantileForecast | ModelFailed] = [whole] if len(flags) == 1 else [*rows_of(whole)]
    if False in flags:
        error = ModelFailed("series[0].values", "a finite forecast", "numbers beyond float64")
        rows = [row if fine else error for row, fine in zip(rows, flags, strict=True)]
    return rows


class AnyStreamNetwork:
    """The definition, over any runtime."""

    def __init__(self, arena: StreamArena, runtime: ForecastRuntime, forms: Forms) -> None:
        """Puts them together.

        Args:
          arena: of the streams.
          runtime: that the arena was made for.
          forms: of its contexts.
        """
        self._arena = arena
        self._config = arena.config
        self._runtime = runtime
        self._forms = forms

    def append(self, slots: Sequence[int], portions: Sequence[Floats]) -> Sequence[bool]:
        """Takes in points; see `StreamNetwork`."""
        arena, places = self._arena, np.array(slots, dtype=np.int64)
        again = places[self._forms.extend(places, portions)]
        if len(again):
            arena.forget_state(again)
            wanted = self._full(arena.scale["anchor"][again])
            for count in np.unique(wanted[wanted > 0]).tolist():
                self._encode(again[wanted == count], count)
        while len(behind := places[arena.encoded[places] < self._full(arena.known[places])]):
            self._encode(behind, 1)
        finite = np.logical_and.reduce(np.isfinite(arena.state[places]), axis=1)
        flags: list[bool] = finite.tolist()
        return flags

    def quantiles(self, slots: Sequence[int], outputs: int) -> NDArray[np.float32]:
        """Gives scaled quantiles; see `StreamNetwork`."""
        arena, patch = self._arena, self._config.patch_length
        places = np.array(slots, dtype=np.int64)
        known, encoded = arena.known[places], arena.encoded[places]
        ends = known[:, None] + patch * np.arange(outputs)
        fresh = np.ones(ends.shape)
        fresh[:, 0] = (known - encoded * patch) / patch
        features = self._forms.features(places, ends, fresh)
        valid = np.ones(ends.shape, dtype=np.bool_)
        quantiles, _ = self._runtime.prefill(features, valid, arena.state[places], outputs)
        return quantiles.reshape(len(slots), outputs * patch, -1)

    def forecast(
        self, slots: Sequence[int], horizon: int, levels: tuple[float, ...]
    ) -> "Sequence[QuantileForecast | ModelFailed]":
        """Forecasts each stream; see `StreamNetwork`."""
        outputs = -(-horizon // self._config.patch_length)
        raw = self.quantiles(slots, outputs)[:, :horizon].astype(np.float64)
        scale = self._arena.scale[np.array(slots, dtype=np.int64)]
        means, deviations = (scale[name][:, None] for name in ("mean", "deviation"))
        plan = forecast_plan(self._config.quantile_levels, levels)
        return forecasts_of(best_in_units()(raw, means, deviations, plan), levels)

    def _full(self, points: Ints) -> Ints:
        """Gives how many tokens of so many points lie in the state."""
        full: Ints = np.maximum(points - 1, 0) // self._config.patch_length
        return full

    def _encode(self, slots: Ints, count: int) -> None:
        """Moves states on by so many tokens."""
        arena = self._arena
        tokens = arena.encoded[slots][:, None] + 1 + np.arange(count)
        ends = tokens * self._config.patch_length
        features = self._forms.features(slots, ends, np.ones(ends.shape))
        self._runtime.advance(features, arena.state, slots)
        arena.encoded[slots] += count
