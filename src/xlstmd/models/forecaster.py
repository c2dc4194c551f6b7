"""The forecaster: series in, quantiles out. No torch in here."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import InputError
from xlstmd.models import checkpoint as checkpoints
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.calibration import DEFAULT_RATE, check_rate
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.config import ForecasterConfig
from xlstmd.models.patching import make_features, plan_tokens
from xlstmd.models.points import as_points
from xlstmd.models.predictor import DEFAULT_LEVELS, Predictor, check_request, finished
from xlstmd.models.quantile_forecast import FloatArray, QuantileForecast
from xlstmd.models.runtime import ForecastRuntime, make_runtime
from xlstmd.models.scaling import ScaledContext
from xlstmd.models.stream import Streams
from xlstmd.models.stream_arena import StreamArena, slot_bytes
from xlstmd.models.stream_step import StreamAnswer, StreamStep
from xlstmd.models.tirex import load_tirex
from xlstmd.ops.native import load_native

__all__ = ["ForecastStream", "Forecaster", "QuantileForecast", "load_forecaster"]

# Tokens in one call of the network: bounds memory, and keeps rows of like length together.
_TOKENS_PER_CALL: Final = 8192


class Forecaster(Predictor):
    """A forecaster of ours: its scale is frozen, so that it can be fed point by point."""

    def __init__(self, checkpoint: ForecasterCheckpoint, runtime: ForecastRuntime) -> None:
        """Puts weights and runtime together; `load_forecaster` does it by name."""
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.name = checkpoint.name
        self.version = checkpoint.version
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
            "state_bytes": self.slot_bytes,
            "runtime": self._runtime.name,
            "precision": self._runtime.precision,
            "native_library": load_native().summary,
            "covariates": False,
            "licence": self.checkpoint.licence,
            "sha256": self.checkpoint.sha256,
            "training": dict(self.checkpoint.training),
        }

    def forecast(
        self, histories: Sequence[FloatArray], horizon: int, quantile_levels: Sequence[float]
    ) -> QuantileForecast:
        """Forecasts every history by itself; see `Predictor.forecast`."""
        levels = check_request(horizon, quantile_levels)
        contexts = [self._context(history, index) for index, history in enumerate(histories)]
        raw = np.empty((len(contexts), horizon, len(self.config.quantile_levels)))
        for rows in self._calls(contexts, horizon):
            raw[rows] = self._run([contexts[row] for row in rows], horizon)
        means = np.array([[context.mean] for context in contexts])
        deviations = np.array([[context.deviation] for context in contexts])
        return finished(raw, means, deviations, self.config.quantile_levels, levels)

    def stream(self) -> "ForecastStream":
        """Starts a series that is fed point by point."""
        return ForecastStream(self.config, self._runtime)

    @property
    def slot_bytes(self) -> int:
        """Bytes of one stream's state, whatever its length."""
        return slot_bytes(self.config, self._runtime)

    @property
    def fingerprint(self) -> str:
        """Hash of what a stream's state depends on: it continues only under the same one.

        The kernels of another instruction level continue it within 1e-5.
        """
        parts = (
            self.identity,
            self.checkpoint.sha256,
            self._runtime.name,
            self._runtime.precision,
            str(self.slot_bytes),
        )
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def streams(self, slots: int) -> Streams:
        """Allocates many such series, which move forward together."""
        return Streams(StreamArena(self.config, self._runtime, slots), self._runtime)

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

    def __init__(self, config: ForecasterConfig, runtime: ForecastRuntime) -> None:
        """Starts without a point; `Forecaster.stream` does it."""
        self._streams = Streams(StreamArena(config, runtime, slots=1), runtime)
        self._nbytes = slot_bytes(config, runtime)

    def append(self, values: Sequence[float] | FloatArray) -> None:
        """Takes in one or more points, NaN = missing.

        Raises:
          InputError: a value is infinite or no number; nothing is taken in then.
        """
        self._run(values=as_points(values, "values"))

    def score(
        self, values: Sequence[float] | FloatArray, anomaly_rate: float = DEFAULT_RATE
    ) -> AnomalyScores:
        """Takes in points as `append` does, and says how unusual each one is.

        A point is scored under the forecast that stood at the last patch boundary before it, so
        that appending in other portions changes nothing; see `anomaly`. Once this has been called,
        points of `append` are scored too, and remembered for the flags of later ones.

        Args:
          values: one or more, NaN = missing.
          anomaly_rate: share of usual points that may be flagged; see `calibration`.

        Raises:
          InputError: a value is infinite or no number, or the rate is not strictly between 0 and
            1; nothing is taken in then.
        """
        rate = check_rate(anomaly_rate)
        answer = self._run(values=as_points(values, "values"), anomaly_rate=rate)
        return cast(AnomalyScores, answer.scores)

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
        answer = self._run(values=np.empty(0), horizon=horizon, quantile_levels=levels)
        return cast(QuantileForecast, answer.forecast)

    @property
    def observed(self) -> int:
        """Points taken in since the first observed one."""
        return int(self._streams.arena.observed[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the stream's state, whatever its length."""
        return self._nbytes

    def _run(self, **asked: Any) -> StreamAnswer:
        answer = self._streams.run([StreamStep(slot=0, **asked)])[0]
        if answer.error is not None:
            raise answer.error
        return answer


def load_forecaster(
    name_or_path: str | Path | None = None,
    *,
    runtime: str | None = None,
    threads: int | None = None,
    precision: str = "float32",
) -> Predictor:
    """Loads a forecaster.

    Args:
      name_or_path: a shipped one by name, a folder, or the `.ckpt` file of a TiRex; None is the
        default one.
      runtime: by name; None takes the best that can run here.
      threads: that it computes with; None leaves that as it is in this process.
      precision: of dense products, `float32`, `bfloat16` or `int8`.

    Raises:
      CheckpointError: there is no such model, or its files are damaged.
      BackendUnavailable: no runtime can run it, with the reasons.
    """
    place = checkpoints.find(name_or_path)
    if place.is_file():
        return load_tirex(place, runtime=runtime, threads=threads, precision=precision)
    checkpoint = checkpoints.load(place)
    runs = make_runtime(
        checkpoint.config.network,
        checkpoint.weights,
        runtime,
        threads=threads,
        precision=precision,
    )
    return Forecaster(checkpoint, runs)
