"""Answers requests for streams, whichever way they have come."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from xlstmd.engine.engine import Engine
from xlstmd.engine.session_tasks import AppendResult, AppendTask, Sessions
from xlstmd.errors import InputError
from xlstmd.server.append_answer import encode_append
from xlstmd.server.append_task import SURFACE, numbers_of, read_append
from xlstmd.server.exchange import Exchange
from xlstmd.server.hot_route import (
    BYTES_PER_NUMBER,
    INLINE_BODY_BYTES,
    INLINE_NUMBERS,
    maybe_in_thread,
)
from xlstmd.server.media import Media
from xlstmd.server.problems import refuse_unless_running
from xlstmd.server.settings import Settings

STREAM_PATH: Final = "/api/v1/xlstm/forecast/stream"


class Appender:
    """Reads a request, takes its step, writes its answer.

    Attributes:
      stream_path: of the WebSocket that does the same.
    """

    stream_path = STREAM_PATH

    def __init__(self, engine: Engine, sessions: Sessions, settings: Settings) -> None:
        """Keeps what answers need."""
        self._engine = engine
        self._sessions = sessions
        self._settings = settings
        self._steps: set[asyncio.Future[AppendResult]] = set()

    def check_running(self) -> None:
        """Refuses requests before and after the engine's time.

        Raises:
          Problem: 503 `loading` or `draining`.
        """
        refuse_unless_running(self._engine.phase)

    async def read(self, body: bytes, media: Media, exchange: Exchange) -> AppendTask:
        """Decodes and checks a request.

        Raises:
          Problem: 400 `malformed`.
          InputError: 422, with the field.
          ModelNotFound: it names a model that is not loaded.
        """
        try:
            task = await maybe_in_thread(
                len(body) > INLINE_BODY_BYTES, lambda: read_append(body, media, self._settings)
            )
        except InputError as error:
            if error.code == "non_finite":
                self._engine.telemetry.nonfinite.labels(exchange.model, "input").inc()
            raise
        exchange.series = 1
        exchange.model = self._engine.find_model(task.model)
        return task

    async def answer(
        self, task: AppendTask, media: Media, exchange: Exchange, left_s: Callable[[], float]
    ) -> bytes:
        """Takes the step and writes the answer.

        Args:
          task: as read.
          media: format of the answer.
          exchange: is told what has happened.
          left_s: gives how many seconds are left.

        Raises:
          XlstmdError: see `Sessions.append`; the exchange knows whether the stream has moved.
        """
        result = await self._step(replace(task, deadline_s=left_s()))
        exchange.state_advanced = task.seq is not None
        exchange.model = result.model
        exchange.queue_ms, exchange.compute_ms = result.queue_ms, result.compute_ms
        return await maybe_in_thread(
            numbers_of(task) > INLINE_NUMBERS,
            lambda: encode_append(task, result, media, exchange),
        )

    def metadata(self) -> Mapping[str, Any]:
        """Gives what the first frame of a WebSocket says of this surface."""
        return {"surface": SURFACE}

    def nbytes_of(self, task: AppendTask) -> int:
        """Gives the bytes that a task and its answer take, about."""
        return task.values.nbytes + BYTES_PER_NUMBER * numbers_of(task)

    async def _step(self, task: AppendTask) -> AppendResult:
        """A step that moves the stream ends even when nobody waits for it any more.

        Its client cannot know how far it came; sent again, it gets its answer.
        """
        if task.seq is None:
            return await self._sessions.append(task)
        step = asyncio.ensure_future(self._sessions.append(task))
        self._steps.add(step)
        step.add_done_callback(self._steps.discard)
        return await asyncio.shield(step)
