"""Steps of sessions: which request is the next one, what it does, and what it is told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_door import SessionDoor
from xlstmd.engine.session_opener import SessionOpener
from xlstmd.engine.session_parts import SessionParts
from xlstmd.engine.session_reply import Reply
from xlstmd.engine.session_request import SessionRequest, StepTaken
from xlstmd.engine.session_saver import SAVE_ERRORS, SessionSaver
from xlstmd.engine.session_table import Session
from xlstmd.engine.slot_pool import SlotPool
from xlstmd.engine.step_job import StepDone, StepJob
from xlstmd.engine.step_work import StepWork
from xlstmd.errors import (
    DeadlineExceeded,
    InputError,
    ModelConflict,
    ModelFailed,
    ModelNotFound,
    SeqConflict,
    SeqReused,
    SessionExpired,
    SessionUnknown,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R", bound=Reply)


class SessionSteps:
    """Answers `SessionRequest`s: each advances its session once or not at all."""

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

    async def take(self, request: SessionRequest[R]) -> StepTaken[R]:
        """Takes a step; see `Sessions.append` and `Sessions.step` for what it raises."""
        turns = self._parts.turns
        with self._door.passage(request.work.nbytes):
            await self._within(request.deadline, turns.take(request.key))
            try:
                try:
                    return await self._answer(request)
                except ModelFailed as error:
                    if not request.do_without(error):
                        raise
                return await self._answer(request)
            finally:
                turns.leave(request.key)

    async def _answer(self, request: SessionRequest[R]) -> StepTaken[R]:
        if self._refusal is not None:
            raise self._refusal()
        session = await self._within(request.deadline, self._open(request))
        if session is None:
            return await self._begin(request, None)
        if request.model is not None and self._find_model(request.model) != session.model:
            raise ModelConflict(f"model: expected {session.model}, got {request.model}")
        if request.seq is None:
            done = await self._ask(session, request, request.work)
            return StepTaken(session, request.reply(session.reply, done), done)
        first = session.seq - session.reply.count + 1
        if request.seq == first and request.request_hash == session.request_hash:
            return await self._repeat(session, request)
        if request.reset and request.seq == 1:
            return await self._begin(request, session)
        if request.seq == first:
            raise SeqReused(f"seq: {request.seq} was another request of session {request.key.id}")
        if request.seq != session.seq + 1:
            raise SeqConflict(request.seq, session.seq + 1, session.durable_seq)
        return await self._advance(session, request)

    async def _open(self, request: SessionRequest[Any]) -> Session | None:
        """Gives the session in memory; None where the request begins one."""
        try:
            return await self._opener.open(request.key)
        except SessionUnknown:
            if request.seq != 1:
                raise
        except SessionExpired:
            if not (request.reset and request.seq == 1):
                raise
        return None

    async def _ask(
        self, session: Session, request: SessionRequest[Any], work: StepWork
    ) -> StepDone:
        """Computes what changes nothing."""
        arena = self._parts.arenas[session.model]
        job = self._job(request, arena.pool, session.slot, work)
        try:
            done = await arena.step(job)
        finally:
            arena.finish(job)
        self._use(session)
        return done

    async def _repeat(self, session: Session, request: SessionRequest[R]) -> StepTaken[R]:
        """Gives the last reply again: the state is still that after it."""
        work, done = request.work_again(session.reply), None
        if work is not None:
            done = await self._ask(session, request, work)
        await self._make_durable(session)
        return StepTaken(session, request.own(session.reply), done)

    async def _advance(self, session: Session, request: SessionRequest[R]) -> StepTaken[R]:
        arena = self._parts.arenas[session.model]
        source = None if request.reset else session.slot
        job = self._job(request, arena.pool, source, request.work)
        try:
            done = await arena.step(job)
            reply = request.reply(session.reply, done)
            # From here to the end of the block nothing waits: all of it happens or nothing.
            session.slot = job.exchange(session.slot)
            if session.seq == session.durable_seq:
                session.changed_at = self._parts.clock()
            session.seq += request.count
            session.request_hash = request.request_hash
            session.reply = reply
            self._use(session)
        finally:
            arena.finish(job)
        await self._make_durable(session)
        return StepTaken(session, reply, done)

    async def _begin(self, request: SessionRequest[R], old: Session | None) -> StepTaken[R]:
        """Begins a session, in place of another one or not."""
        arena = self._arena(request, old)
        if request.durable and self._parts.store is None:
            raise InputError("durable", "nothing without a folder for state (`state_dir`)", "true")
        room = None
        if old is None:
            room = await self._within(request.deadline, self._opener.make_room(arena))
        pool = arena.pool if room is None else room.pool
        job = self._job(request, pool, None, request.work)
        try:
            done = await arena.step(job)
            reply = request.reply(None, done)
            session = self._new_session(request, arena.model, job, reply, old)
            if session.is_durable or (old is not None and old.is_stored):
                # Else the end of the process would bring the old one back, and its next step
                # could pass for one of the new one.
                await self._save_first(session, old)
            self._parts.tombstones.forget(request.key)
            # Else the worker has ended meanwhile, and the session lies in the store alone.
            if pool is arena.pool:
                session.slot = job.exchange(None if old is None else old.slot)
                self._parts.table.put(session)
                if room is not None:
                    room.settle()
        finally:
            arena.finish(job)
            if room is not None:
                room.cancel()
        return StepTaken(session, reply, done)

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
            except Exception as error:
                if not isinstance(error, SAVE_ERRORS):
                    logger.exception("a durable step was not saved")
            is_lost = self._parts.table.get(session.key) is not session
            if is_lost and session.durable_seq < session.seq:
                raise self._parts.arenas[session.model].down()

    def _arena(self, request: SessionRequest[Any], old: Session | None) -> SessionArena:
        if old is not None:
            return self._parts.arenas[old.model]
        model = self._find_model(request.model)
        arena = self._parts.arenas.get(model)
        if arena is None:
            raise InputError("model", "one that can be fed point by point", model)
        if arena.surface != request.key.surface:
            arenas = self._parts.arenas.values()
            known = [each.model for each in arenas if each.surface == request.key.surface]
            raise ModelNotFound(model, known)
        return arena

    def _job(
        self, request: SessionRequest[Any], pool: SlotPool, source: int | None, work: StepWork
    ) -> StepJob:
        now, deadline = self._parts.clock(), request.deadline
        return StepJob(work, key=request.key, pool=pool, source=source, now=now, deadline=deadline)

    def _new_session(
        self,
        request: SessionRequest[Any],
        model: str,
        job: StepJob,
        reply: Reply,
        old: Session | None,
    ) -> Session:
        now, wall_ns = self._parts.clock(), self._parts.wall_ns()
        return Session(
            key=request.key,
            model=model,
            slot=-1 if job.slot is None else job.slot,
            seq=request.count,
            request_hash=request.request_hash,
            reply=reply,
            # Tells sessions of one key apart, whatever the wall clock does.
            created_ns=wall_ns if old is None else max(wall_ns, old.created_ns + 1),
            used_ns=wall_ns,
            used_at=now,
            facts=dict(request.facts),
            is_durable=request.durable,
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
