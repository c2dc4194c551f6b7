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
    TryOut,
)
from xlstmd.engine.policy_tasks import PolicyHost, PolicyModel
from xlstmd.engine.session_payload import pack_arrays, unpack_arrays
from xlstmd.engine.session_tasks import StreamHost, StreamModel
from xlstmd.engine.tasks import ForecastModel, Model

StepHost = StreamHost | PolicyHost


class LaneWorker:
    """Carries orders out, one at a time, and owns the slots of the model's streams."""

    def __init__(self, model: Model) -> None:
        """Keeps the model; the order `OpenSlots` allocates."""
        self._model = model
        self._streams: StepHost | None = None

    def do(self, order: Order) -> Any:
        """Carries an order out and gives its answer; raises what the model raises."""
        match order:
            case Forecast(histories, horizon, quantile_levels):
                model = cast(ForecastModel, self._model)
                return model.forecast(histories, horizon, quantile_levels)
            case TryOut():
                return cast(PolicyModel, self._model).try_out()
            case TakeSteps(moves):
                return self._take_steps(moves)
            case OpenSlots(count):
                model_of_steps = cast(StreamModel | PolicyModel, self._model)
                self._streams = model_of_steps.streams(count)
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
    def _host(self) -> StepHost:
        if self._streams is None:
            raise RuntimeError("slots: expected to be opened before they are used")
        return self._streams

    def _take_steps(self, moves: Sequence[Move]) -> list[Any]:
        arena = self._host.arena
        for source, step in moves:
            if source is None:
                arena.clear(step.slot)
            elif source != step.slot:
                arena.copy(source, step.slot)
        # All steps are of the kind that the model takes.
        return list(cast(Any, self._host).run([move.step for move in moves]))
