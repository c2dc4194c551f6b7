"""A series fed point by point, forecast at any time, equal to feeding it whole."""

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.config import ForecasterConfig
from xlstmd.models.patching import TokenPlan, make_features, plan_tokens
from xlstmd.models.runtime import ForecastRuntime
from xlstmd.models.scaling import ScaledContext

FloatArray = NDArray[np.float64]


class SeriesEncoder:
    """The recurrent state of one series: the scaled context, and how far it has been encoded."""

    def __init__(self, config: ForecasterConfig, runtime: ForecastRuntime) -> None:
        """Starts without a point."""
        self.config = config
        self.context = ScaledContext(config.context_length)
        self._runtime = runtime
        self._state = runtime.init_state(1)
        self._encoded = 0

    def append(self, values: FloatArray) -> None:
        """Takes in points, NaN = missing. The last patch stays out of the state: see `patching`."""
        if self.context.extend(values):
            self._state, self._encoded = self._runtime.init_state(1), 0
        full = max(len(self.context.points) - 1, 0) // self.config.patch_length
        if full > self._encoded:
            plan = self._plan(0)
            tokens = slice(self._encoded, full)
            features, valid = self._features(plan, tokens)
            _, self._state = self._runtime.prefill(features, valid, self._state, 0)
            self._encoded = full

    def quantiles(self, horizon: int) -> NDArray[np.float32]:
        """Gives scaled quantiles of the next points, [Z, Q]; changes nothing."""
        patch = self.config.patch_length
        outputs = -(-horizon // patch)
        plan = self._plan(outputs - 1)
        features, valid = self._features(plan, slice(self._encoded, None))
        quantiles, _ = self._runtime.prefill(features, valid, self._state, outputs)
        return quantiles.reshape(outputs * patch, -1)[:horizon]

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return self.context.nbytes + self._state.nbytes + 8

    def _plan(self, future: int) -> TokenPlan:
        known = np.array([len(self.context.points)])
        start = np.zeros(1, dtype=np.int64)
        return plan_tokens(start, known, np.array([future]), self.config.patch_length)

    def _features(
        self, plan: TokenPlan, tokens: slice
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        part = TokenPlan(
            ends=plan.ends[:, tokens], fresh=plan.fresh[:, tokens], valid=plan.valid[:, tokens]
        )
        return make_features(self.context.scaled()[None], part, self.config), part.valid
