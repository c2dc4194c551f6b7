"""What is done with the slots of one model, in the place where the model runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.session_payload import pack_arrays, unpack_arrays
from xlstmd.engine.session_tasks import StreamHost, StreamModel
from xlstmd.models.stream_step import StreamAnswer, StreamStep

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A step from one slot to another.

    Args:
      source: the stream before the step, left as it is; None for one without a point; the target
        itself for a step that goes on.
      target: the stream after it.
      values: see `StreamStep`; likewise the ones below.
      horizon: see `StreamStep`.
      quantile_levels: see `StreamStep`.
      anomaly_rate: see `StreamStep`.
    """

    source: int | None
    target: int
    values: FloatArray
    horizon: int
    quantile_levels: tuple[float, ...]
    anomaly_rate: float | None


class SlotWorker:
    """Owns the arena of one model. All methods belong to the thread of the model's lane."""

    def __init__(self, model: StreamModel, slots: int) -> None:
        """Keeps the model; `open` allocates.

        Args:
          model: of the streams.
          slots: of the arena.
        """
        self._model = model
        self._slots = slots
        self._host: StreamHost | None = None

    @property
    def host(self) -> StreamHost:
        """The streams; allocated when they are first asked for."""
        if self._host is None:
            self._host = self._model.streams(self._slots)
        return self._host

    def open(self) -> None:
        """Allocates all slots."""
        _ = self.host

    def run(self, moves: Sequence[Move]) -> list[StreamAnswer]:
        """Takes steps; those of different streams share calls of the model."""
        arena = self.host.arena
        for move in moves:
            if move.source is None:
                arena.clear(move.target)
            elif move.source != move.target:
                arena.copy(move.source, move.target)
        steps = [
            StreamStep(
                slot=move.target,
                values=move.values,
                horizon=move.horizon,
                quantile_levels=move.quantile_levels,
                anomaly_rate=move.anomaly_rate,
            )
            for move in moves
        ]
        return self.host.run(steps)

    def export(self, slots: Sequence[int]) -> list[bytes]:
        """Gives payloads of session records."""
        return [pack_arrays(self.host.arena.export(slot)) for slot in slots]

    def restore(self, slot: int, payload: bytes) -> None:
        """Makes a slot hold a stream that was exported.

        Raises:
          SnapshotDamaged: the payload is none of this model.
        """
        self.host.arena.restore(slot, unpack_arrays(payload))

    def clear(self, slots: Sequence[int]) -> None:
        """Leaves nothing in slots."""
        for slot in slots:
            self.host.arena.clear(slot)
