"""An `AppendTask` on its way through the session engine."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from xlstmd.engine.session_check import check_append
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_reply import Reply, SessionReply
from xlstmd.engine.session_request import StepTaken
from xlstmd.engine.session_tasks import AppendResult, AppendTask
from xlstmd.engine.step_job import StepDone
from xlstmd.engine.stream_work import StreamWork
from xlstmd.errors import ModelFailed
from xlstmd.models.anomaly_scores import AnomalyScores


class AppendRequest:
    """Implements `SessionRequest`."""

    count = 1

    def __init__(self, task: AppendTask, now: float) -> None:
        """Checks the task.

        Args:
          task: what is asked.
          now: monotonic seconds.

        Raises:
          InputError: no session could take it.
        """
        check_append(task)
        self.key: SessionKey = task.key
        self.seq = task.seq
        self.model = task.model
        self.reset = task.reset
        self.durable = task.durable
        self.facts: Mapping[str, str] = task.facts
        self.request_hash = task.request_hash
        self.deadline = None if task.deadline_s is None else now + task.deadline_s
        self.work = StreamWork(
            values=task.values,
            horizon=task.horizon,
            quantile_levels=task.quantile_levels,
            anomaly_rate=task.anomaly_rate,
        )

    def work_again(self, reply: Reply) -> StreamWork | None:  # noqa: ARG002
        """See `SessionRequest.work_again`: the forecast, to the same bits."""
        if not self.work.horizon:
            return None
        return replace(self.work, values=np.empty(0), anomaly_rate=None)

    def reply(self, before: Reply | None, done: StepDone) -> SessionReply:  # noqa: ARG002
        """See `SessionRequest.reply`."""
        scores = done.answer.scores
        if scores is not None:
            # Of its own: parts of a batch would keep all of it.
            scores = AnomalyScores(
                quantile=scores.quantile.copy(),
                surprise=scores.surprise.copy(),
                flag=scores.flag.copy(),
            )
        return SessionReply(observed=done.answer.observed, scores=scores)

    def own(self, reply: Reply) -> SessionReply:
        """See `SessionRequest.own`."""
        return cast(SessionReply, reply)

    def do_without(self, error: ModelFailed) -> bool:  # noqa: ARG002
        """See `SessionRequest.do_without`: points cannot be left out."""
        return False

    def result(self, taken: StepTaken[SessionReply]) -> AppendResult:
        """Gives the answer."""
        session, done = taken.session, taken.done
        return AppendResult(
            seq=session.seq,
            durable_seq=session.durable_seq,
            observed=taken.reply.observed,
            forecast=None if done is None else done.answer.forecast,
            scores=taken.reply.scores,
            model=session.model,
            facts=session.facts,
            queue_ms=0.0 if done is None else done.queue_ms,
            compute_ms=0.0 if done is None else done.compute_ms,
        )
