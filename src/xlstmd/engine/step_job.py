"""A step on its way: admitted, computed into a slot of its own, answered once."""

import asyncio
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.orders import Move
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.models.anomaly_scores import AnomalyScores, joined
from xlstmd.models.stream_step import StreamAnswer, StreamStep

FloatArray = NDArray[np.float64]

MS_PER_S: Final = 1000.0

# Beside the numbers: the objects of a step and of its answer.
STEP_BYTES: Final = 2048
_SCORE_BYTES: Final = 17

# Points that one model call takes in: with scores, tens of milliseconds for the others to wait.
PORTION_POINTS: Final = 4096
_NUMBER_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a step computes; fields as in `AppendTask`."""

    values: FloatArray
    horizon: int
    quantile_levels: tuple[float, ...]
    anomaly_rate: float | None

    @property
    def points(self) -> int:
        """Points in and points out: what the work is measured in."""
        return len(self.values) + self.horizon + 1

    @property
    def nbytes(self) -> int:
        """Bytes held until the answer is given."""
        scores = 0 if self.anomaly_rate is None else _SCORE_BYTES * len(self.values)
        forecast = _NUMBER_BYTES * self.horizon * (len(self.quantile_levels) + 2)
        return self.values.nbytes + scores + forecast + STEP_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step that went well.

    Args:
      answer: without an error, and finite.
      queue_ms: from admission to the first computation.
      compute_ms: time of the model calls that had it.
    """

    answer: StreamAnswer
    queue_ms: float
    compute_ms: float


class StepJob:
    """One admitted step and what has become of it so far.

    Attributes:
      slot: once it went well, the slot that holds the stream after it; the caller's to give back.
      target: while it is computed, the slot for that.
    """

    def __init__(
        self,
        work: StepWork,
        *,
        key: SessionKey,
        pool: SlotPool,
        source: int | None,
        now: float,
        deadline: float | None,
    ) -> None:
        """Admits a step.

        Args:
          work: what to compute.
          key: of the session.
          pool: of all slots that it uses.
          source: slot of the stream; None for one without a point.
          now: monotonic time in seconds.
          deadline: by the same clock.
        """
        self.key = key
        self.pool = pool
        self.deadline = deadline
        self.answer: asyncio.Future[StepDone] = asyncio.get_running_loop().create_future()
        self.slot: int | None = None
        self.target: int | None = None
        self._work = work
        self._source = source
        self._admitted_at = now
        self._started_at: float | None = None
        self._compute_s = 0.0
        self._taken = 0
        self._scores: list[AnomalyScores] = []

    @property
    def points(self) -> int:
        """Points of the next portion, in and out."""
        left = len(self._work.values) - self._taken
        return min(left, PORTION_POINTS) + (self._work.horizon if self._is_last else 0) + 1

    @property
    def _is_last(self) -> bool:
        return self._taken + PORTION_POINTS >= len(self._work.values)

    @property
    def is_open(self) -> bool:
        """Whether the answer is still wanted and still to be given."""
        return not self.answer.done()

    @property
    def has_begun(self) -> bool:
        """Whether a computation has started."""
        return self._started_at is not None

    def is_expired(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def begin(self, now: float, target: int) -> Move:
        """Notes the computation, and gives what is to be done: the next portion of the points."""
        if self._started_at is None:
            self._started_at = now
        self.target = target
        step = StreamStep(
            slot=target,
            values=self._work.values[self._taken : self._taken + PORTION_POINTS],
            horizon=self._work.horizon if self._is_last else 0,
            quantile_levels=self._work.quantile_levels,
            anomaly_rate=self._work.anomaly_rate,
        )
        return Move(self._source if self._taken == 0 else target, step)

    def take_in(self, answer: StreamAnswer) -> bool:
        """Keeps the answer to a portion; says whether another one is to follow."""
        if answer.scores is not None:
            self._scores.append(answer.scores)
        if self._is_last:
            return False
        self._taken += PORTION_POINTS
        return True

    def restart(self) -> None:
        """Forgets all portions: what they left in the target cannot be gone on from."""
        self._taken = 0
        self._scores.clear()

    def spend(self, seconds: float) -> None:
        """Adds the time of a model call."""
        self._compute_s += seconds

    def succeed(self, answer: StreamAnswer) -> StepDone:
        """Answers with that of the last portion and all scores, and hands the target over."""
        if len(self._scores) > 1:
            answer = replace(answer, scores=joined(self._scores))
        started = self._admitted_at if self._started_at is None else self._started_at
        done = StepDone(
            answer=answer,
            queue_ms=MS_PER_S * (started - self._admitted_at),
            compute_ms=MS_PER_S * self._compute_s,
        )
        self.slot, self.target = self.target, None
        self.answer.set_result(done)
        return done

    def exchange(self, before: int | None) -> int:
        """Gives the slot with the stream after the step for the one with that before it."""
        after, self.slot = self.slot, before
        if after is None:
            raise RuntimeError("slot: expected that of a step that went well, got none")
        return after

    def fail(self, error: Exception) -> bool:
        """Answers with an error; says whether the job was still open."""
        if self.answer.done():
            return False
        self.answer.set_exception(error)
        return True
