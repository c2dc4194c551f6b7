"""Steps of policies: each is answered in time, with the policy's action or with the fallback."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from xlstmd.engine.lane import Clock
from xlstmd.engine.policy_guards import PolicyGuards
from xlstmd.engine.policy_line import PolicyLine
from xlstmd.engine.policy_reply import PolicyReply
from xlstmd.engine.policy_request import PolicyRequest
from xlstmd.engine.policy_tasks import POLICY, PolicyResult, PolicyTask
from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_request import StepTaken
from xlstmd.engine.session_steps import SessionSteps
from xlstmd.errors import InputError, LaneDown, ModelFailed, ModelNotFound

logger = logging.getLogger(__name__)

MS_PER_S: Final = 1000.0
_NS_PER_MS: Final = 1e6

Taking = asyncio.Task[StepTaken[PolicyReply]]


class PolicySteps:
    """Answers `PolicyTask`s. Belongs to the event loop.

    A step is taken by a task of its own, which nobody's patience ends. Who asked for it waits until
    the deadline and then gives the fallback; the step keeps its place, and what was answered.
    """

    def __init__(
        self,
        parts: SessionParts,
        steps: SessionSteps,
        *,
        find_model: Callable[[str | None], str],
    ) -> None:
        """Works on these parts.

        Args:
          parts: shared ones.
          steps: takes requests.
          find_model: gives the identity of a model by name or identity; raises `ModelNotFound`.
        """
        self._parts = parts
        self._steps = steps
        self._find_model = find_model
        self._clock: Clock = parts.clock
        self._lines: dict[SessionKey, PolicyLine] = {}

    async def step(self, task: PolicyTask) -> PolicyResult:
        """Takes a step; see `Sessions.step`."""
        arena, guards = self._arena(task.policy)
        if task.seq < 1:
            raise InputError("seq", "1 or more", str(task.seq))
        guards.check(task.observations, is_replay=task.is_replay)
        contract = guards.contract
        wanted_ms = contract.deadline_ms if task.deadline_ms is None else task.deadline_ms
        left = wanted_ms / MS_PER_S - task.since_s
        if task.limit_s is not None:
            left = min(left, task.limit_s)
        is_error = (task.on_deadline or contract.on_deadline) == "error"
        request = PolicyRequest(
            task,
            guards,
            guards.verdicts(task.observations, self._age_ms(task), task.max_age_ms),
            deadline=self._clock() + left if is_error else None,
            note=arena.telemetry.acted,
            clock=self._clock,
        )
        taking = self._begin(request)
        if is_error:
            return self._result(await asyncio.shield(taking), guards)
        await asyncio.wait((taking,), timeout=max(0.0, left))
        if not taking.done():
            return self._late(request, arena, guards)
        try:
            return self._result(taking.result(), guards)
        except (LaneDown, ModelFailed):
            return self._not_taken(request, arena, guards)

    def _arena(self, name: str) -> tuple[SessionArena, PolicyGuards]:
        model = self._find_model(name)
        arena = self._parts.arenas.get(model)
        if arena is None or arena.guards is None:
            arenas = self._parts.arenas.values()
            raise ModelNotFound(name, [one.model for one in arenas if one.surface == POLICY])
        return arena, arena.guards

    def _age_ms(self, task: PolicyTask) -> float | None:
        if task.observed_ns is None or task.is_replay:
            return None
        return (self._parts.wall_ns() - task.observed_ns) / _NS_PER_MS

    def _begin(self, request: PolicyRequest) -> Taking:
        line = self._lines.setdefault(request.key, PolicyLine())
        line.add(request)
        taking = asyncio.get_running_loop().create_task(self._steps.take(request))

        # Also keeps the task: the loop alone would not.
        def end(done: Taking) -> None:
            line.leave(request)
            if not line and self._lines.get(request.key) is line:
                del self._lines[request.key]
            if not done.cancelled() and done.exception() is not None and request.late is not None:
                logger.warning(
                    "a late step was not completed",
                    extra={"model": request.model, "error": str(done.exception())},
                )

        taking.add_done_callback(end)
        return taking

    def _late(
        self, request: PolicyRequest, arena: SessionArena, guards: PolicyGuards
    ) -> PolicyResult:
        session = self._parts.table.get(request.key)
        reply = self._lines[request.key].answer_late(request, session)
        return PolicyResult(
            actions=reply.actions,
            statuses=reply.statuses,
            seq=request.end,
            durable_seq=0 if session is None else session.durable_seq,
            episode_step=reply.episode_step,
            valid_for_ms=guards.contract.valid_for_ms,
            state_advanced=reply.state_advanced,
            pending=reply.pending,
            model=arena.model,
            queue_ms=0.0,
            compute_ms=0.0,
        )

    def _not_taken(
        self, request: PolicyRequest, arena: SessionArena, guards: PolicyGuards
    ) -> PolicyResult:
        """Gives the fallback where the step could not be taken, and will not be."""
        session = self._parts.table.get(request.key)
        before = None if session is None else request.own(session.reply)
        reply = request.answer_late(before, 0 if before is None else before.episode_step)
        return PolicyResult(
            actions=reply.actions,
            statuses=reply.statuses,
            seq=request.seq - 1,
            durable_seq=0 if session is None else session.durable_seq,
            episode_step=reply.episode_step - request.count,
            valid_for_ms=guards.contract.valid_for_ms,
            state_advanced=False,
            pending=False,
            model=arena.model,
            queue_ms=0.0,
            compute_ms=0.0,
        )

    def _result(self, taken: StepTaken[PolicyReply], guards: PolicyGuards) -> PolicyResult:
        session, reply, done = taken.session, taken.reply, taken.done
        return PolicyResult(
            actions=reply.actions,
            statuses=reply.statuses,
            seq=session.seq,
            durable_seq=session.durable_seq,
            episode_step=reply.episode_step,
            valid_for_ms=guards.contract.valid_for_ms,
            state_advanced=reply.state_advanced,
            pending=reply.pending,
            model=session.model,
            queue_ms=0.0 if done is None else done.queue_ms,
            compute_ms=0.0 if done is None else done.compute_ms,
        )
