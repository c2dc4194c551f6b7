"""A series fed point by point, forecast at any time, equal to feeding it whole."""

from collections.abc import Sequence

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
        """Takes in points, NaN = missing. The last patch stays out of the state: see `patching`.

        What was there at a renewal is encoded in one call, every later token in one of its own:
        which tokens share a call, and with it the rounding, depends on the history alone.
        """
        if self.context.extend(values):
            self._state, self._encoded = self._runtime.init_state(1), 0
            self._encode([self._full(self.context.renewed_at)])
        self._encode(range(self._encoded + 1, self._full(len(self.context.points)) + 1))

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

    def _full(self, points: int) -> int:
        """Gives how many tokens of so many points lie in the state."""
        return max(points - 1, 0) // self.config.patch_length

    def _encode(self, ends: Sequence[int]) -> None:
        """Moves the state on to each of these numbers of tokens, in one call for each."""
        if not ends or ends[-1] <= self._encoded:
            return
        first = self._encoded
        features, valid = self._features(self._plan(0), slice(first, ends[-1]))
        for end in ends:
            part = slice(self._encoded - first, end - first)
            _, self._state = self._runtime.prefill(
                features[:, part], valid[:, part], self._state, 0
            )
            self._encoded = end

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
