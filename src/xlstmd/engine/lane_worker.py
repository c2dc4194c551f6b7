"""What a lane does with its model, in the place where the model runs."""

from collections.abc import Sequence
from typing import Any, cast

from xlstmd.engine.orders import (
    ClearSlots,
    ExportSlots,
    Forecast,
    Move,
    OpenSlots,
    Order,
    RestoreSlot,
    TakeSteps,
)
from xlstmd.engine.session_payload import pack_arrays, unpack_arrays
from xlstmd.engine.session_tasks import StreamHost, StreamModel
from xlstmd.engine.tasks import ForecastModel
from xlstmd.models.stream_step import StreamAnswer


class LaneWorker:
    """Carries orders out, one at a time, and owns the slots of the model's streams."""

    def __init__(self, model: ForecastModel) -> None:
        """Keeps the model; the order `OpenSlots` allocates."""
        self._model = model
        self._streams: StreamHost | None = None

    def do(self, order: Order) -> Any:
        """Carries an order out and gives its answer; raises what the model raises."""
        match order:
            case Forecast(histories, horizon, quantile_levels):
                return self._model.forecast(histories, horizon, quantile_levels)
            case TakeSteps(moves):
                return self._take_steps(moves)
            case OpenSlots(count):
                self._streams = cast(StreamModel, self._model).streams(count)
                return None
            case ExportSlots(slots):
                return [pack_arrays(self._host.arena.export(slot)) for slot in slots]
            case RestoreSlot(slot, payload):
                return self._host.arena.restore(slot, unpack_arrays(payload))
            case ClearSlots(slots):
                for slot in slots:
                    self._host.arena.clear(slot)
                return None

    @property
    def _host(self) -> StreamHost:
        if self._streams is None:
            raise RuntimeError("slots: expected to be opened before they are used")
        return self._streams

    def _take_steps(self, moves: Sequence[Move]) -> list[StreamAnswer]:
        arena = self._host.arena
        for source, step in moves:
            if source is None:
                arena.clear(step.slot)
            elif source != step.slot:
                arena.copy(source, step.slot)
        return self._host.run([move.step for move in moves])
