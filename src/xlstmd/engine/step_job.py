"""A step on its way: admitted, computed into a slot of its own, answered once."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from xlstmd.engine.orders import Move
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.engine.step_work import StepWork
from xlstmd.errors import InputError, ModelFailed

MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDone:
    """A step that went well.

    Args:
      answer: of the model, to the whole step; see `StepWork.fault` for what is none.
      queue_ms: from admission to the first computation.
      compute_ms: time of the model calls that had it.
    """

    answer: Any
    queue_ms: float
    compute_ms: float


class StepJob:
    """One admitted step and what has become of it so far.

    Attributes:
      slot: once it went well, the slot that holds the stream after it; the caller's to give back.
      target: while it is computed, the slot for that.
      is_alone: it may share no batch.
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
        self.is_alone = False
        self.deadline = deadline
        self.answer: asyncio.Future[StepDone] = asyncio.get_running_loop().create_future()
        self.slot: int | None = None
        self.target: int | None = None
        self._work = work
        self._source = source
        self._admitted_at = now
        self._started_at: float | None = None
        self._compute_s = 0.0
        # To the portions so far.
        self._answers: list[Any] = []

    @property
    def field(self) -> str:
        """Of the request, for errors."""
        return self._work.field

    @property
    def points(self) -> int:
        """Points of the next portion, in and out."""
        return self._work.points(len(self._answers))

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
        """Notes the computation, and gives what is to be done: the next portion."""
        if self._started_at is None:
            self._started_at = now
        self.target = target
        step = self._work.step(target, len(self._answers))
        return Move(target if self._answers else self._source, step)

    def fault(self, answer: Any) -> InputError | ModelFailed | None:
        """Says why an answer to a portion is none; see `StepWork.fault`."""
        return self._work.fault(answer)

    def take_in(self, answer: Any) -> bool:
        """Keeps the answer to a portion; says whether another one is to follow."""
        self._answers.append(answer)
        return len(self._answers) < self._work.portions

    def restart(self) -> None:
        """Forgets all portions: what they left in the target cannot be gone on from."""
        self._answers.clear()

    def spend(self, seconds: float) -> None:
        """Adds the time of a model call."""
        self._compute_s += seconds

    def succeed(self) -> StepDone:
        """Answers with what all portions gave, and hands the target over."""
        started = self._admitted_at if self._started_at is None else self._started_at
        done = StepDone(
            answer=self._work.whole(self._answers),
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
