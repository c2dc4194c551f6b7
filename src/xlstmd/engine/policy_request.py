"""A `PolicyTask` on its way through the session engine."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.policy_guards import PolicyGuards
from xlstmd.engine.policy_reply import PolicyReply
from xlstmd.engine.policy_status import ActionStatus
from xlstmd.engine.policy_tasks import PolicyTask
from xlstmd.engine.policy_work import PolicyWork
from xlstmd.engine.session_reply import Reply
from xlstmd.engine.step_job import StepDone
from xlstmd.errors import ModelFailed

Numbers = NDArray[np.float64]

_NO_FACTS: Final[Mapping[str, str]] = MappingProxyType({})


class PolicyRequest:
    """Implements `SessionRequest`.

    Attributes:
      made: the reply, once it is made.
      late: the reply that was given before the step was taken, which is then kept as that to it.
    """

    def __init__(
        self,
        task: PolicyTask,
        guards: PolicyGuards,
        verdicts: list[ActionStatus],
        *,
        deadline: float | None,
        note: Callable[[ActionStatus], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepares the request.

        Args:
          task: checked.
          guards: of the policy.
          verdicts: on its observations.
          deadline: after which it must not be taken; None for one that is answered otherwise.
          note: is told how each action came about.
          clock: monotonic seconds.
        """
        self.key = task.key
        self.seq = task.seq
        self.count = len(task.observations)
        self.model = task.policy
        self.reset = task.reset
        self.durable = task.durable
        self.facts = _NO_FACTS
        self.request_hash = task.request_hash
        self.deadline = deadline
        self.made: PolicyReply | None = None
        self.late: PolicyReply | None = None
        self._guards = guards
        self._verdicts = verdicts
        self._note = note
        self._clock = clock
        shown = [verdict is ActionStatus.OK for verdict in verdicts]
        self.work = PolicyWork(
            observations=task.observations if all(shown) else task.observations[shown],
            num_actions=guards.num_actions,
        )

    @property
    def end(self) -> int:
        """The last number that it takes."""
        return self.seq + self.count - 1

    def work_again(self, reply: Reply) -> None:
        """See `SessionRequest.work_again`: nothing, the reply has it all."""

    def reply(self, before: Reply | None, done: StepDone) -> PolicyReply:
        """See `SessionRequest.reply`."""
        if self.late is None:
            former = None if before is None else self.own(before)
            self.made = self._reply(former, done)
            self._count(self.made)
        else:
            self.made = self.late
        return self.made

    def own(self, reply: Reply) -> PolicyReply:
        """See `SessionRequest.own`."""
        return cast(PolicyReply, reply)

    def do_without(self, error: ModelFailed) -> bool:  # noqa: ARG002
        """See `SessionRequest.do_without`: the fallback is done instead."""
        if not len(self.work.observations):
            return False
        bad = ActionStatus.FALLBACK_NONFINITE
        self._verdicts = [bad if one is ActionStatus.OK else one for one in self._verdicts]
        self.work = replace(self.work, observations=self.work.observations[:0])
        return True

    def answer_late(self, before: PolicyReply | None, step_before: int) -> PolicyReply:
        """Gives the fallback, and keeps it as the reply to the step that is still to be taken.

        Args:
          before: what is known of the last reply.
          step_before: of the episode, as far as that is known.
        """
        last = None if before is None or self.reset else before.last
        self.late = PolicyReply(
            actions=np.repeat(self._guards.fallback(last)[None], self.count, axis=0),
            statuses=(ActionStatus.FALLBACK_LATE,) * self.count,
            episode_step=self.count + (0 if self.reset else step_before),
            pending=True,
            given_at=self._clock(),
        )
        self._count(self.late)
        return self.late

    def _count(self, reply: PolicyReply) -> None:
        for status in reply.statuses:
            self._note(status)

    def _reply(self, before: PolicyReply | None, done: StepDone) -> PolicyReply:
        """Puts the actions together: those of the policy, guarded, and fallbacks."""
        if self.reset:
            before = None
        now, step_s = self._clock(), self._guards.step_s
        last = None if before is None else before.last
        elapsed_s = step_s
        if before is not None and before.given_at is not None:
            elapsed_s = now - before.given_at
        answered = iter(zip(done.answer.actions, done.answer.is_sound.tolist(), strict=True))
        actions, statuses = [], []
        for verdict in self._verdicts:
            action, status = self._one(verdict, answered, last, elapsed_s)
            actions.append(action)
            statuses.append(status)
            last, elapsed_s = action, step_s
        return PolicyReply(
            actions=np.array(actions),
            statuses=tuple(statuses),
            episode_step=self.count + (0 if before is None else before.episode_step),
            given_at=now,
        )

    def _one(
        self,
        verdict: ActionStatus,
        answered: Iterator[tuple[Numbers, bool]],
        last: Numbers | None,
        elapsed_s: float,
    ) -> tuple[Numbers, ActionStatus]:
        if verdict is not ActionStatus.OK:
            return self._guards.fallback(last), verdict
        action, is_sound = next(answered)
        if not is_sound or not np.isfinite(action).all():
            return self._guards.fallback(last), ActionStatus.FALLBACK_NONFINITE
        return self._guards.guarded(action, last, elapsed_s)
