"""Scores of streams' points in compiled code; see `stream_scores`."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.calibration import REMEMBERED
from xlstmd.models.native_quantiles import NativePlan
from xlstmd.models.quantile_plan import QuantilePlan
from xlstmd.models.stream_arena import StreamArena
from xlstmd.ops import native_signatures
from xlstmd.ops.native_handle import address, native_library

Floats = NDArray[np.float64]


class NativeScores:
    """Looks up everything that stays, once; one call at a time."""

    def __init__(self, arena: StreamArena) -> None:
        """Keeps the arena, and with it what the addresses point to."""
        config, arrays = arena.config, arena.scores()
        levels = np.array(config.quantile_levels)
        plan = NativePlan(QuantilePlan.of(config.quantile_levels, ()))
        spec = native_signatures.Scores(
            patch=config.patch_length,
            remembered=REMEMBERED,
            levels=address(levels),
            plan=plan.place,
            observed=address(arena.observed),
            made_at=address(arrays["made_at"]),
            quantiles=address(arrays["quantiles"]),
            surprises=address(arrays["surprises"]),
        )
        self._kept = (arena, levels, plan, spec)
        self._spec = ctypes.addressof(spec)
        self._slots = np.zeros(arena.slots, dtype=np.int64)
        self._counts = np.zeros(arena.slots, dtype=np.int64)
        self._rates = np.zeros(arena.slots)
        self._places = [address(each) for each in (self._slots, self._counts, self._rates)]
        self._score = native_library().xlstmd_streams_score

    def score(
        self, slots: Sequence[int], portions: Sequence[Floats], rates: Sequence[float]
    ) -> Sequence[AnomalyScores]:
        """Scores points; see `StreamScores`."""
        rows, sizes = len(slots), list(map(len, portions))
        self._slots[:rows], self._counts[:rows], self._rates[:rows] = slots, sizes, rates
        joined = portions[0] if rows == 1 else np.concatenate(portions)
        values = np.ascontiguousarray(joined, dtype=np.float64)
        quantile, surprise = np.empty(len(values)), np.empty(len(values))
        flag = np.empty(len(values), dtype=np.bool_)
        at, counts, shares = self._places
        to = map(address, (quantile, surprise, flag))
        self._score(self._spec, rows, at, address(values), counts, shares, *to)
        scores, end = [], 0
        for size in sizes:
            start, end = end, end + size
            part = (quantile[start:end], surprise[start:end], flag[start:end])
            scores.append(AnomalyScores(quantile=part[0], surprise=part[1], flag=part[2]))
        return scores
