"""The forecaster: series in, quantiles out. No torch in here."""

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError, ModelFailed, ShapeError
from xlstmd.models import checkpoint as checkpoints
from xlstmd.models import quantiles as quantile_functions
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.patching import make_features, plan_tokens
from xlstmd.models.points import as_floats, as_points
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast
from xlstmd.models.runtime import ForecastRuntime, make_runtime
from xlstmd.models.scaling import ScaledContext
from xlstmd.models.stream import SeriesEncoder

__all__ = ["ForecastStream", "Forecaster", "QuantileForecast", "load_forecaster"]

DEFAULT_LEVELS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

# Tokens in one call of the network: bounds memory, and keeps rows of like length together.
_TOKENS_PER_CALL: Final = 8192


class Forecaster:
    """A loaded forecaster; calls keep nothing."""

    def __init__(self, checkpoint: ForecasterCheckpoint, runtime: ForecastRuntime) -> None:
        """Puts weights and runtime together; `load_forecaster` does it by name."""
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.name = checkpoint.name
        self.version = checkpoint.version
        self.identity = f"{checkpoint.name}@{checkpoint.version}"
        self._runtime = runtime

    def describe(self) -> Mapping[str, Any]:
        """Gives facts that can be written as JSON."""
        config = self.config
        return {
            "name": self.name,
            "version": self.version,
            "kind": "forecaster",
            "parameters": sum(array.size for array in self.checkpoint.weights.values()),
            "patch_length": config.patch_length,
            "context_length": config.context_length,
            "quantile_levels": list(config.quantile_levels),
            "state_bytes": self.stream().nbytes,
            "runtime": self._runtime.name,
            "covariates": False,
            "licence": self.checkpoint.licence,
            "sha256": self.checkpoint.sha256,
            "training": dict(self.checkpoint.training),
        }

    def forecast(
        self, histories: Sequence[FloatArray], horizon: int, quantile_levels: Sequence[float]
    ) -> QuantileForecast:
        """Forecasts every history by itself; no row depends on the others.

        Args:
          histories: [length] each, oldest point first, NaN = missing, at least one point observed.
          horizon: points to forecast, Z.
          quantile_levels: strictly between 0 and 1.

        Raises:
          InputError: a history without an observed point or with an infinite one, a bad horizon or
            level.
          ModelFailed: a forecast cannot be written in float64.
        """
        levels = check_request(horizon, quantile_levels)
        contexts = [self._context(history, index) for index, history in enumerate(histories)]
        raw = np.empty((len(contexts), horizon, len(self.config.quantile_levels)))
        for rows in self._calls(contexts, horizon):
            raw[rows] = self._run([contexts[row] for row in rows], horizon)
        means = np.array([context.mean for context in contexts])
        deviations = np.array([context.deviation for context in contexts])
        return finished(raw, means, deviations, self.config.quantile_levels, levels)

    def predict(
        self,
        series: Any,
        horizon: int,
        quantile_levels: Sequence[float] = DEFAULT_LEVELS,
        *,
        freq: str | None = None,
    ) -> Any:
        """Forecasts arrays or a long frame.

        Args:
          series: one array, a list of arrays, an array [S, T], or a pandas, polars or pyarrow
            frame with the columns `unique_id`, `ds`, `y`; NaN or null is missing.
          horizon: points to forecast.
          quantile_levels: strictly between 0 and 1.
          freq: of a frame whose times do not show it, for example `h`.

        Returns:
          For arrays a `QuantileForecast` (one series is a row of its own); for a frame one of the
          same kind with `unique_id`, `ds`, `mean` and a column for each level, `q0.1` and so on.

        Raises:
          InputError: see `forecast`; or columns are missing or of the wrong type.
        """
        if hasattr(series, "columns") or hasattr(series, "column_names"):
            from xlstmd.models.frames import from_frame, to_frame

            frame = from_frame(series, freq=freq)
            return to_frame(frame, self.forecast(frame.histories, horizon, quantile_levels))
        return self.forecast(_histories(series), horizon, quantile_levels)

    def stream(self) -> "ForecastStream":
        """Starts a series that is fed point by point."""
        return ForecastStream(self.config, self._runtime)

    def _context(self, history: FloatArray, index: int) -> ScaledContext:
        points = as_points(history, field := f"series[{index}].values")
        context = ScaledContext(self.config.context_length)
        context.extend(points)
        if not context.observed:
            got = f"{len(points)} missing values" if len(points) else "no points"
            raise InputError(field, "at least one observed value", got, code="empty")
        return context

    def _calls(self, contexts: Sequence[ScaledContext], horizon: int) -> list[list[int]]:
        """Groups rows of like length for calls of the network."""
        patch = self.config.patch_length
        groups: list[list[int]] = []
        for row in sorted(range(len(contexts)), key=lambda row: len(contexts[row].points)):
            tokens = (len(contexts[row].points) + horizon) // patch + 2
            if not groups or (len(groups[-1]) + 1) * tokens > _TOKENS_PER_CALL:
                groups.append([])
            groups[-1].append(row)
        return groups

    def _run(self, contexts: Sequence[ScaledContext], horizon: int) -> NDArray[np.float32]:
        """Gives scaled quantiles [B, Z, Q]."""
        patch = self.config.patch_length
        outputs = -(-horizon // patch)
        known = np.array([len(context.points) for context in contexts])
        values = np.full((len(contexts), int(known.max())), np.nan)
        for row, context in enumerate(contexts):
            values[row, : known[row]] = context.scaled()
        zeros = np.zeros(len(contexts), dtype=np.int64)
        plan = plan_tokens(zeros, known, zeros + outputs - 1, patch)
        features = make_features(values, plan, self.config)
        state = self._runtime.init_state(len(contexts))
        quantiles, _ = self._runtime.prefill(features, plan.valid, state, outputs)
        return quantiles.reshape(len(contexts), outputs * patch, -1)[:, :horizon]


class ForecastStream:
    """One series, fed as it comes. At every moment its forecast is that of the whole history."""

    def __init__(self, config: Any, runtime: ForecastRuntime) -> None:
        """Starts without a point; `Forecaster.stream` does it."""
        self._encoder = SeriesEncoder(config, runtime)

    def append(self, values: Sequence[float] | FloatArray) -> None:
        """Takes in one or more points, NaN = missing.

        Raises:
          InputError: a value is infinite or no number; nothing is taken in then.
        """
        self._encoder.append(as_points(values, "values"))

    def forecast(
        self, horizon: int, quantile_levels: Sequence[float] = DEFAULT_LEVELS
    ) -> QuantileForecast:
        """Forecasts the next points; changes nothing.

        Returns:
          One row.

        Raises:
          InputError: nothing has been observed yet, or a bad horizon or level.
        """
        levels = check_request(horizon, quantile_levels)
        context = self._encoder.context
        if not context.observed:
            raise InputError("values", "at least one observed value", "none so far", code="empty")
        raw = self._encoder.quantiles(horizon)[None].astype(np.float64)
        mean, deviation = np.array([context.mean]), np.array([context.deviation])
        return finished(raw, mean, deviation, self._encoder.config.quantile_levels, levels)

    @property
    def observed(self) -> int:
        """Points taken in since the first observed one."""
        return self._encoder.context.observed

    @property
    def nbytes(self) -> int:
        """Bytes of the stream's state at most, whatever its length."""
        return self._encoder.nbytes


def load_forecaster(
    name_or_path: str | Path | None = None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
) -> Forecaster:
    """Loads a forecaster.

    Args:
      name_or_path: a shipped one by name, or a folder; None is the default one.
      runtime: by name; None takes the best that can run here.
      threads: that it computes with; None leaves that as it is in this process.

    Raises:
      CheckpointError: there is no such model, or its files are damaged.
      BackendUnavailable: no runtime can run it, with the reasons.
    """
    checkpoint = checkpoints.load(checkpoints.find(name_or_path))
    return Forecaster(checkpoint, make_runtime(checkpoint, runtime, threads=threads))


def finished(
    raw: FloatArray,
    means: FloatArray,
    deviations: FloatArray,
    known: Sequence[float],
    levels: tuple[float, ...],
) -> QuantileForecast:
    """Turns scaled quantiles into a forecast.

    Args:
      raw: [S, Z, known levels], in any order along the last axis.
      means: [S].
      deviations: [S].
      known: levels of `raw`, rising.
      levels: wanted ones.
    """
    rising = np.sort(raw, axis=-1)
    scale, shift = deviations[:, None, None], means[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):
        asked = quantile_functions.at_levels(rising, known, (*levels, 0.5)) * scale + shift
        mean = quantile_functions.mean(rising, known) * scale[..., 0] + shift[..., 0]
    bad = ~(np.isfinite(asked).all(axis=(1, 2)) & np.isfinite(mean).all(axis=1))
    if bad.any():
        row = int(bad.argmax())
        raise ModelFailed(f"series[{row}].values", "a finite forecast", "numbers beyond float64")
    return QuantileForecast(
        mean=mean,
        median=asked[..., -1].copy(),
        quantiles=asked[..., :-1].copy(),
        quantile_levels=levels,
        mean_method=quantile_functions.MEAN_METHOD,
    )


def check_request(horizon: int, quantile_levels: Sequence[float]) -> tuple[float, ...]:
    """Checks what is asked of a forecast, and gives the levels.

    Raises:
      InputError: a horizon that is no whole number or below 1, no level, one that is not strictly
        between 0 and 1, or one twice.
    """
    try:
        steps = operator.index(horizon)
    except TypeError:
        raise InputError("horizon", "a whole number", repr(horizon)[:40], code="bad_type") from None
    if steps < 1:
        raise InputError("horizon", "1 or more", str(horizon))
    try:
        levels = tuple(float(level) for level in quantile_levels)
    except (TypeError, ValueError):
        got = repr(quantile_levels)[:40]
        raise InputError("quantile_levels", "a list of numbers", got, code="bad_type") from None
    if not levels:
        raise InputError("quantile_levels", "at least one level", "none", code="empty")
    for index, level in enumerate(levels):
        if not 0.0 < level < 1.0:
            code = "out_of_range" if math.isfinite(level) else "non_finite"
            expected = "a number strictly between 0 and 1"
            raise InputError(f"quantile_levels[{index}]", expected, str(level), code=code)
        if level in levels[:index]:
            raise InputError(f"quantile_levels[{index}]", "each level once", f"{level} again")
    return levels


def _histories(series: Any) -> list[FloatArray]:
    if isinstance(series, np.ndarray) and series.dtype != object:
        rows = np.atleast_2d(as_floats(series, "series"))
        if rows.ndim != 2:
            raise ShapeError("series", "an array [T] or [S, T]", f"shape {list(rows.shape)}")
        return list(rows)
    try:
        items = list(series)
    except TypeError:
        got = type(series).__name__
        raise InputError("series", "series of numbers", got, code="bad_type") from None
    if not items:
        raise InputError("series", "at least one series", "none", code="empty")
    if all(np.ndim(item) == 0 for item in items):
        return [as_floats(items, "series")]
    return [as_floats(item, f"series[{index}]") for index, item in enumerate(items)]
