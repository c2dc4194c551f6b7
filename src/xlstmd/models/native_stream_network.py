"""Streams through a compiled network, in one call for each thing; see `stream_network`."""

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ModelFailed
from xlstmd.models.native_quantiles import empty_in_units, native_forecast_plan
from xlstmd.models.native_runtime import NativeRuntime
from xlstmd.models.native_streams import streams_of
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.stream_arena import StreamArena
from xlstmd.models.stream_network import forecasts_of
from xlstmd.ops import native_signatures
from xlstmd.ops.native_handle import address, check, native_library
from xlstmd.ops.native_pool import pool

Floats = NDArray[np.float64]


class NativeStreamNetwork:
    """Looks up everything that stays, once; one call at a time."""

    def __init__(self, arena: StreamArena, runtime: NativeRuntime) -> None:
        """Keeps arena and runtime, and with them what the addresses point to."""
        self._config = config = arena.config
        added = runtime.config.added_feature
        spec = native_signatures.StreamNetwork(
            pool=pool(runtime.threads),
            backbone=runtime.backbone.handle,
            embedding=runtime.embedding.handle,
            head=runtime.head.handle,
            patch=config.patch_length,
            added_feature=-1 if added is None else added,
            streams=ctypes.pointer(streams_of(arena)),
            slots=arena.slots,
            states=address(arena.state),
            encoded=address(arena.encoded),
        )
        self._kept = (arena, runtime, spec)
        self._spec = ctypes.addressof(spec)
        self._slots = np.zeros(arena.slots, dtype=np.int64)
        self._counts = np.zeros(arena.slots, dtype=np.int64)
        self._finite = np.zeros(arena.slots, dtype=np.bool_)
        self._places = [address(each) for each in (self._slots, self._counts, self._finite)]
        library = native_library()
        self._append = library.xlstmd_streams_append
        self._quantiles = library.xlstmd_streams_quantiles
        self._forecast = library.xlstmd_streams_forecast

    def append(self, slots: Sequence[int], portions: Sequence[Floats]) -> Sequence[bool]:
        """Takes in points; see `StreamNetwork`."""
        rows = len(slots)
        self._slots[:rows] = slots
        self._counts[:rows] = list(map(len, portions))
        joined = portions[0] if rows == 1 else np.concatenate(portions)
        values = np.ascontiguousarray(joined, dtype=np.float64)
        at, counts, finite = self._places
        if status := self._append(self._spec, rows, at, address(values), counts, finite):
            check(status)
        flags: list[bool] = self._finite[:rows].tolist()
        return flags

    def quantiles(self, slots: Sequence[int], outputs: int) -> NDArray[np.float32]:
        """Gives scaled quantiles; see `StreamNetwork`."""
        rows, config = len(slots), self._config
        self._slots[:rows] = slots
        shape = (rows, outputs * config.patch_length, len(config.quantile_levels))
        to = np.empty(shape, dtype=np.float32)
        if status := self._quantiles(self._spec, rows, self._places[0], outputs, address(to)):
            check(status)
        return to

    def forecast(
        self, slots: Sequence[int], horizon: int, levels: tuple[float, ...]
    ) -> "Sequence[QuantileForecast | ModelFailed]":
        """Forecasts each stream; see `StreamNetwork`."""
        rows = len(slots)
        self._slots[:rows] = slots
        plan = native_forecast_plan(self._config.quantile_levels, levels)
        to = empty_in_units(rows, horizon, plan.wanted)
        parts = map(address, to)
        if status := self._forecast(self._spec, plan.place, rows, self._places[0], horizon, *parts):
            check(status)
        return forecasts_of(to, levels)
