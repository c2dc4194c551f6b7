"""Steps of sessions: which request is the next one, what it does, and what it is told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_check import check_append
from xlstmd.engine.session_door import SessionDoor
from xlstmd.engine.session_opener import SessionOpener
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_reply import SessionReply
from xlstmd.engine.session_saver import SAVE_ERRORS, SessionSaver
from xlstmd.engine.session_table import Session
from xlstmd.engine.session_tasks import AppendResult, AppendTask
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.engine.step_job import StepDone, StepJob, StepWork
from xlstmd.errors import (
    DeadlineExceeded,
    InputError,
    ModelConflict,
    SeqConflict,
    SeqReused,
    SessionExpired,
    SessionUnknown,
)
from xlstmd.models.anomaly_scores import AnomalyScores

logger = logging.getLogger(__name__)

T = TypeVar("T")


class SessionSteps:
    """Answers `AppendTask`s: each advances its stream once or not at all."""

    def __init__(
        self,
        parts: SessionParts,
        saver: SessionSaver,
        opener: SessionOpener,
        door: SessionDoor,
        *,
        find_model: Callable[[str | None], str],
    ) -> None:
        """Works on these parts.

        Args:
          parts: shared ones.
          saver: writes what must be durable.
          opener: brings sessions into memory.
          door: that every request goes through.
          find_model: gives the identity of a model by name or identity, of the default one for
            None; raises `ModelNotFound`.
        """
        self._parts = parts
        self._saver = saver
        self._opener = opener
        self._door = door
        self._find_model = find_model
        self._refusal: Callable[[], Exception] | None = None

    def refuse(self, make_error: Callable[[], Exception]) -> None:
        """Lets no waiting request begin any more."""
        self._refusal = make_error

    async def append(self, task: AppendTask) -> AppendResult:
        """Takes a step; see `Sessions.append`."""
        check_append(task)
        deadline = None
        if task.deadline_s is not None:
            deadline = self._parts.clock() + task.deadline_s
        work = StepWork(
            values=task.values,
            horizon=task.horizon,
            quantile_levels=task.quantile_levels,
            anomaly_rate=task.anomaly_rate,
        )
        turns = self._parts.turns
        with self._door.passage(work.nbytes):
            await self._within(deadline, turns.take(task.key))
            try:
                return await self._answer(task, work, deadline)
            finally:
                turns.leave(task.key)

    async def _answer(
        self, task: AppendTask, work: StepWork, deadline: float | None
    ) -> AppendResult:
        if self._refusal is not None:
            raise self._refusal()
        session = await self._within(deadline, self._open(task))
        if session is None:
            return await self._begin(task, work, None, deadline)
        if task.model is not None and self._find_model(task.model) != session.model:
            raise ModelConflict(f"model: expected {session.model}, got {task.model}")
        if task.seq is None:
            done = await self._ask(session, work, deadline)
            return _result(session, done.answer.observed, done, done.answer.scores)
        if task.seq == session.seq and task.request_hash == session.request_hash:
            return await self._repeat(session, work, deadline)
        if task.reset:
            return await self._begin(task, work, session, deadline)
        if task.seq == session.seq:
            raise SeqReused(f"seq: {task.seq} was another request of session {task.key.id}")
        if task.seq != session.seq + 1:
            raise SeqConflict(task.seq, session.seq + 1, session.durable_seq)
        return await self._advance(session, task, work, deadline)

    async def _open(self, task: AppendTask) -> Session | None:
        """Gives the session in memory; None where the task begins one."""
        try:
            return await self._opener.open(task.key)
        except SessionUnknown:
            if task.seq != 1:
                raise
        except SessionExpired:
            if not task.reset:
                raise
        return None

    async def _ask(self, session: Session, work: StepWork, deadline: float | None) -> StepDone:
        """Computes what changes nothing."""
        arena = self._parts.arenas[session.model]
        job = self._job(session.key, arena.pool, session.slot, work, deadline)
        try:
            done = await arena.step(job)
        finally:
            arena.finish(job)
        self._use(session)
        return done

    async def _repeat(
        self, session: Session, work: StepWork, deadline: float | None
    ) -> AppendResult:
        """Gives the last reply again: the state is still that after it."""
        done = None
        if work.horizon:
            again = replace(work, values=np.empty(0), anomaly_rate=None)
            done = await self._ask(session, again, deadline)
        await self._make_durable(session)
        return _result(session, session.reply.observed, done, session.reply.scores)

    async def _advance(
        self, session: Session, task: AppendTask, work: StepWork, deadline: float | None
    ) -> AppendResult:
        arena = self._parts.arenas[session.model]
        job = self._job(session.key, arena.pool, session.slot, work, deadline)
        try:
            done = await arena.step(job)
            # From here to the end of the block nothing waits: all of it happens or nothing.
            session.slot = job.exchange(session.slot)
            if session.seq == session.durable_seq:
                session.changed_at = self._parts.clock()
            session.seq += 1
            session.request_hash = task.request_hash
            session.reply = _reply(done)
            self._use(session)
        finally:
            arena.finish(job)
        await self._make_durable(session)
        return _result(session, done.answer.observed, done, done.answer.scores)

    async def _begin(
        self, task: AppendTask, work: StepWork, old: Session | None, deadline: float | None
    ) -> AppendResult:
        """Begins a stream, in place of another one or not."""
        arena = self._arena(task, old)
        if task.durable and self._parts.store is None:
            raise InputError("durable", "nothing without a folder for state (`state_dir`)", "true")
        room = None
        if old is None:
            room = await self._within(deadline, self._opener.make_room(arena))
        pool = arena.pool if room is None else room.pool
        job = self._job(task.key, pool, None, work, deadline)
        try:
            done = await arena.step(job)
            session = self._new_session(task, arena.model, job, done, old)
            if session.is_durable or (old is not None and old.is_stored):
                # Else the end of the process would bring the old stream back, and its next step
                # could pass for one of the new stream.
                await self._save_first(session, old)
            self._parts.tombstones.forget(task.key)
            # Else the worker has ended meanwhile, and the stream lies in the store alone.
            if pool is arena.pool:
                session.slot = job.exchange(None if old is None else old.slot)
                self._parts.table.put(session)
                if room is not None:
                    room.settle()
        finally:
            arena.finish(job)
            if room is not None:
                room.cancel()
        return _result(session, done.answer.observed, done, done.answer.scores)

    async def _save_first(self, session: Session, old: Session | None) -> None:
        """Writes a stream that nobody knows yet; if that fails, there is none."""
        tombstones = self._parts.tombstones
        stone = tombstones.find(session.key)
        # What is written of the old one from now on would come after the new one.
        tombstones.forget(session.key)
        if old is not None:
            old.is_leaving = True
        try:
            await self._saver.save_first(session)
        except BaseException:
            if stone is not None:
                tombstones.add(stone.key, stone.reason)
            if old is not None:
                old.is_leaving = False
            raise

    async def _make_durable(self, session: Session) -> None:
        """Has a step that was taken on disk, where that was wanted and can be.

        Raises:
          LaneDown: the step is lost with the worker that had taken it.
        """
        if session.is_durable and session.durable_seq < session.seq:
            # Else the step is taken, whatever becomes of this: `durable_seq` tells.
            try:
                await self._saver.save(session)
            except SAVE_ERRORS:
                if self._parts.table.get(session.key) is not session:
                    raise self._parts.arenas[session.model].down() from None
            except Exception:
                logger.exception("a durable step was not saved")

    def _arena(self, task: AppendTask, old: Session | None) -> SessionArena:
        if old is not None:
            return self._parts.arenas[old.model]
        model = self._find_model(task.model)
        arena = self._parts.arenas.get(model)
        if arena is None:
            raise InputError("model", "one that can be fed point by point", model)
        return arena

    def _job(
        self,
        key: SessionKey,
        pool: SlotPool,
        source: int | None,
        work: StepWork,
        deadline: float | None,
    ) -> StepJob:
        now = self._parts.clock()
        return StepJob(work, key=key, pool=pool, source=source, now=now, deadline=deadline)

    def _new_session(
        self, task: AppendTask, model: str, job: StepJob, done: StepDone, old: Session | None
    ) -> Session:
        now, wall_ns = self._parts.clock(), self._parts.wall_ns()
        return Session(
            key=task.key,
            model=model,
            slot=-1 if job.slot is None else job.slot,
            seq=1,
            request_hash=task.request_hash,
            reply=_reply(done),
            # Tells streams of one key apart, whatever the wall clock does.
            created_ns=wall_ns if old is None else max(wall_ns, old.created_ns + 1),
            used_ns=wall_ns,
            used_at=now,
            facts=dict(task.facts),
            is_durable=task.durable,
            saved_at=now,
            changed_at=now,
        )

    def _use(self, session: Session) -> None:
        session.used_at = self._parts.clock()
        session.used_ns = self._parts.wall_ns()
        self._parts.table.touch(session)

    async def _within(self, deadline: float | None, work: Awaitable[T]) -> T:
        """Waits for what advances nothing."""
        if deadline is None:
            return await work
        left = deadline - self._parts.clock()
        try:
            async with asyncio.timeout(max(0.0, left)):
                return await work
        except TimeoutError:
            raise DeadlineExceeded("no answer before the deadline") from None


def _reply(done: StepDone) -> SessionReply:
    scores = done.answer.scores
    if scores is not None:
        # Of its own: parts of a batch would keep all of it.
        scores = AnomalyScores(
            quantile=scores.quantile.copy(),
            surprise=scores.surprise.copy(),
            flag=scores.flag.copy(),
        )
    return SessionReply(observed=done.answer.observed, scores=scores)


def _result(
    session: Session, observed: int, done: StepDone | None, scores: AnomalyScores | None
) -> AppendResult:
    return AppendResult(
        seq=session.seq,
        durable_seq=session.durable_seq,
        observed=observed,
        forecast=None if done is None else done.answer.forecast,
        scores=scores,
        model=session.model,
        facts=session.facts,
        queue_ms=0.0 if done is None else done.queue_ms,
        compute_ms=0.0 if done is None else done.compute_ms,
    )
