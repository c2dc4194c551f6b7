"""TiRex: series in, quantiles out, in the numbers of the published package. No torch in here.

Every forecast is that of a window of `context_length` points that ends where the forecast begins.
The window is scaled by its own mean and deviation and cut into patches from its right end; patches
before the first observed point are empty, and the state after so many empty patches is the same
for all series, so that it is computed once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ConfigError, InputError
from xlstmd.models.foreign.tirex import TiRexCheckpoint, read_tirex
from xlstmd.models.points import as_points
from xlstmd.models.predictor import Predictor, check_request, finished
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast
from xlstmd.models.renewal import moments
from xlstmd.models.runtime import ForecastRuntime, make_runtime
from xlstmd.models.tirex_config import TiRexConfig
from xlstmd.ops.native import load_native

__all__ = ["Rollout", "TiRexConfig", "TiRexForecaster", "load_tirex"]

Rollout = Literal["stepwise", "stateful"]

# Rows and tokens in one call of the network: what lies between two layers stays in the cache.
_ROWS_PER_CALL: Final = 16
_TOKENS_PER_CALL: Final = 2048

# Added to the size of the level where all points of a window are equal.
_LEAST_DEVIATION: Final = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """What one row of a call sees, and which patches it forecasts.

    Attributes:
      row: series that it belongs to.
      patch: the first patch that it forecasts, counted from the end of the series.
      outputs: patches that it forecasts.
      padding: empty patches before `tokens`.
      tokens: [N, P], scaled, NaN = missing or to come.
      mean: of the window.
      deviation: of the window.
    """

    row: int
    patch: int
    outputs: int
    padding: int
    tokens: FloatArray
    mean: float
    deviation: float


class TiRexForecaster(Predictor):
    """A loaded TiRex.

    There are two ways to a horizon of several patches. They agree only for the first patch:

    - `stepwise`: the window moves on by a patch at a time, is scaled anew, and forecasts its next
      patch. These are the numbers of the published package as it comes. No patch depends on the
      forecast of another one, so that all are rows of one batch. Where a window would hold no
      observed point any more, the last one that does goes on statefully (the published package
      forecasts zero there).
    - `stateful`: the window stays, and empty patches move its state forward. These are the numbers
      of the published package with as many accelerated steps as there are patches. One pass,
      whatever the horizon.

    Quantiles are sorted, which the published package leaves out; `mean` is the integral over the
    quantiles, where the published one is the median.
    """

    name = "tirex"

    def __init__(
        self, checkpoint: TiRexCheckpoint, runtime: ForecastRuntime, rollout: Rollout = "stepwise"
    ) -> None:
        """Puts weights and runtime together; `load_tirex` does it for a file.

        Args:
          checkpoint: what was read; its weights are not kept.
          runtime: filled with them.
          rollout: way to horizons beyond a patch.

        Raises:
          ConfigError: there is no such way.
        """
        if rollout not in get_args(Rollout):
            known = ", ".join(get_args(Rollout))
            raise ConfigError(f"rollout: expected one of {known}, got {rollout}")
        self.config = checkpoint.config
        self.rollout = rollout
        self.version = checkpoint.sha256[:8]
        self._runtime = runtime
        self._facts = {
            "parameters": sum(array.size for array in checkpoint.weights.values()),
            "sha256": checkpoint.sha256,
        }
        self._after_padding: dict[int, NDArray[np.float32]] = {0: runtime.init_state(1)}

    def describe(self) -> Mapping[str, Any]:
        """Gives facts that can be written as JSON."""
        config = self.config
        return {
            "name": self.name,
            "version": self.version,
            "kind": "forecaster",
            "patch_length": config.patch_length,
            "context_length": config.context_length,
            "quantile_levels": list(config.quantile_levels),
            "runtime": self._runtime.name,
            "precision": self._runtime.precision,
            "native_library": load_native().summary,
            "rollout": self.rollout,
            "covariates": False,
            "licence": "not stated in the file",
            **self._facts,
        }

    def forecast(
        self, histories: Sequence[FloatArray], horizon: int, quantile_levels: Sequence[float]
    ) -> QuantileForecast:
        """Forecasts every history by itself; see `Predictor.forecast`.

        The last `context_length` points count, and one of them must be observed.
        """
        levels = check_request(horizon, quantile_levels)
        patch, known = self.config.patch_length, self.config.quantile_levels
        patches = -(-horizon // patch)
        windows = [
            window
            for row, history in enumerate(histories)
            for window in self._windows(self._points(history, row), row, patches)
        ]
        raw = np.empty((len(histories), patches, patch, len(known)))
        means = np.empty((len(histories), patches))
        deviations = np.empty_like(means)
        for call in _calls(windows):
            quantiles = self._run(call)
            for window, rows in zip(call, quantiles, strict=True):
                place = window.row, slice(window.patch, window.patch + window.outputs)
                raw[place], means[place], deviations[place] = rows, window.mean, window.deviation
        return finished(
            raw.reshape(len(histories), patches * patch, -1)[:, :horizon],
            np.repeat(means, patch, axis=1)[:, :horizon],
            np.repeat(deviations, patch, axis=1)[:, :horizon],
            known,
            levels,
        )

    def stream(self) -> NoReturn:
        """Refuses: a new point moves every patch and changes the scale of all points before it.

        Raises:
          ConfigError: always.
        """
        raise ConfigError("stream: expected a model whose scale is frozen, got a TiRex")

    def _points(self, history: FloatArray, row: int) -> FloatArray:
        """Gives the points that count, from the first observed one on."""
        field = f"series[{row}].values"
        points = as_points(history, field)[-self.config.context_length :]
        observed = np.flatnonzero(~np.isnan(points))
        if not len(observed):
            got = f"{len(points)} missing values" if len(points) else "no points"
            expected = "at least one observed value"
            if len(points) == self.config.context_length:
                expected += f" among the last {len(points)}"
            raise InputError(field, expected, got, code="empty")
        return points[observed[0] :]

    def _windows(self, points: FloatArray, row: int, patches: int) -> Iterator[_Window]:
        """Gives the windows that forecast a series."""
        patch, last = self.config.patch_length, 0
        if self.rollout == "stepwise":
            # The last observed point leaves the window when this many patches are before it.
            gap = int(np.isnan(points[::-1]).argmin())
            last = min((self.config.context_length - gap - 1) // patch, patches - 1)
        mean = deviation = 0.0
        counted = -1
        for shift in range(last + 1):
            kept = points[max(len(points) - self.config.context_length + shift * patch, 0) :]
            kept = kept[int((~np.isnan(kept)).argmax()) :]
            if len(kept) != counted:
                counted = len(kept)
                mean, deviation = moments(kept[~np.isnan(kept)])
                deviation = deviation or abs(mean) + _LEAST_DEVIATION
            outputs = patches - shift if shift == last else 1
            count = -(-len(kept) // patch)
            tokens = np.full((count + shift + outputs - 1, patch), np.nan)
            tokens.reshape(-1)[count * patch - len(kept) : count * patch] = (
                kept - mean
            ) / deviation
            yield _Window(
                row=row,
                patch=shift,
                outputs=outputs,
                padding=self.config.num_tokens - shift - count,
                tokens=tokens,
                mean=mean,
                deviation=deviation,
            )

    def _run(self, windows: Sequence[_Window]) -> NDArray[np.float32]:
        """Gives scaled quantiles of rows with equally many outputs, [B, outputs, P, Q]."""
        patch = self.config.patch_length
        longest = max(len(window.tokens) for window in windows)
        values = np.full((len(windows), longest, patch), np.nan)
        valid = np.zeros((len(windows), longest), dtype=np.bool_)
        for row, window in enumerate(windows):
            values[row, longest - len(window.tokens) :] = window.tokens
            valid[row, longest - len(window.tokens) :] = True
        state = np.concatenate([self._padded(window.padding) for window in windows])
        quantiles, _ = self._runtime.prefill(_features(values), valid, state, windows[0].outputs)
        return quantiles

    def _padded(self, patches: int) -> NDArray[np.float32]:
        """Gives the state after so many empty patches, [1, S]."""
        if patches not in self._after_padding:
            known = max(count for count in list(self._after_padding) if count < patches)
            empty = np.full((1, patches - known, self.config.patch_length), np.nan)
            valid = np.ones(empty.shape[:2], dtype=np.bool_)
            before = self._after_padding[known]
            _, state = self._runtime.prefill(_features(empty), valid, before, 0)
            self._after_padding[patches] = state
        return self._after_padding[patches]


def load_tirex(
    path: Path,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str = "float32",
    rollout: Rollout = "stepwise",
) -> TiRexForecaster:
    """Loads a TiRex from the file `model.ckpt` that is published.

    Args:
      path: of the file.
      runtime: by name; None takes the best that can run here.
      threads: that it computes with; None leaves that as it is in this process.
      precision: of dense products, `float32`, `bfloat16` or `int8`.
      rollout: way to horizons beyond a patch, see `TiRexForecaster`.

    Raises:
      CheckpointError: the file is absent, damaged or no TiRex.
      BackendUnavailable: no runtime can run it, with the reasons.
      ConfigError: no runtime, precision or way of that name.
    """
    checkpoint = read_tirex(path)
    runs = make_runtime(
        checkpoint.config.network,
        checkpoint.weights,
        runtime,
        threads=threads,
        precision=precision,
    )
    return TiRexForecaster(checkpoint, runs, rollout)


def _calls(windows: Sequence[_Window]) -> list[list[_Window]]:
    """Groups windows with equally many outputs and about as many tokens."""
    calls: list[list[_Window]] = []
    for window in sorted(windows, key=lambda window: (window.outputs, len(window.tokens))):
        tokens = len(window.tokens)
        if (
            not calls
            or calls[-1][0].outputs != window.outputs
            or len(calls[-1]) == _ROWS_PER_CALL
            or (len(calls[-1]) + 1) * tokens > _TOKENS_PER_CALL
        ):
            calls.append([])
        calls[-1].append(window)
    return calls


def _features(values: FloatArray) -> NDArray[np.float32]:
    """Gives values, 0 where missing, and presence flags: [B, N, 2P]."""
    present = ~np.isnan(values)
    return np.concatenate([np.where(present, values, 0.0), present], axis=-1, dtype=np.float32)
