"""What can be asked of a lane. Orders hold numbers and texts alone, and can go anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.policy_step import PolicyStep
from xlstmd.models.stream_step import StreamStep

FloatArray = NDArray[np.float64]
Step = StreamStep | PolicyStep


@dataclass(frozen=True, slots=True)
class Forecast:
    """Asks for a `QuantileForecast`.

    Args:
      histories: rows, see `ForecastModel.forecast`.
      horizon: points to forecast.
      quantile_levels: of the answer, in this order.
    """

    histories: Sequence[FloatArray]
    horizon: int
    quantile_levels: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OpenSlots:
    """Asks for an arena, once, before all orders that name a slot.

    Args:
      count: of its slots.
    """

    count: int


class Move(NamedTuple):
    """A step from one slot to another.

    Args:
      source: the stream before the step, left as it is; None for one without a point; the slot of
        the step itself where it goes on.
      step: of the slot that is to hold the stream after it.
    """

    source: int | None
    step: Step


@dataclass(frozen=True, slots=True)
class TakeSteps:
    """Asks for an answer to each move; those of different streams share model calls.

    Args:
      moves: to different slots, their steps all of the kind that the model takes: `StreamStep`s
        get a `StreamAnswer`, `PolicyStep`s a `PolicyAnswer`.
    """

    moves: Sequence[Move]


@dataclass(frozen=True, slots=True)
class ExportSlots:
    """Asks for the payload of each slot's session record.

    Args:
      slots: of streams.
    """

    slots: Sequence[int]


@dataclass(frozen=True, slots=True)
class RestoreSlot:
    """Makes a slot hold a stream that was exported; fails with `SnapshotDamaged`.

    Args:
      slot: that is free.
      payload: of a session record.
    """

    slot: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ClearSlots:
    """Leaves nothing in slots.

    Args:
      slots: that are free.
    """

    slots: Sequence[int]


@dataclass(frozen=True, slots=True)
class TryOut:
    """Lets a policy take one step that nobody has asked for; fails where it cannot."""


Order = Forecast | TryOut | OpenSlots | TakeSteps | ExportSlots | RestoreSlot | ClearSlots
