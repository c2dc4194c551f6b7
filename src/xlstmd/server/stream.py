"""WebSockets that take steps of sessions: requests as frames, answers in order."""

import asyncio
from collections.abc import Mapping, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.session_record import SessionKey
from xlstmd.server.answer import ENCODE
from xlstmd.server.body import BodyRoom, BodyShare, Receive
from xlstmd.server.description import limits_of
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import Scope, Send, told_document
from xlstmd.server.hot_route import headers_of, left_s
from xlstmd.server.media import Media
from xlstmd.server.session_wire import StreamMetadata
from xlstmd.server.settings import Settings
from xlstmd.server.step_route import Stepper
from xlstmd.server.telemetry import ServerTelemetry

CONTRACT: Final = "v1"

# Frames of one connection whose answers have not been sent; then no more are read.
PENDING: Final = 16

DRAINING_CODE: Final = 1012
DRAINING: Final = "draining"


class Keyed(Protocol):
    """What is asked of a session."""

    @property
    def key(self) -> SessionKey:
        """Of the session."""


T = TypeVar("T", bound=Keyed)


class StreamStepper(Stepper[T], Protocol[T]):
    """What a stream needs of whoever takes its steps."""

    @property
    def stream_path(self) -> str:
        """Of the WebSocket."""

    def metadata(self) -> Mapping[str, Any]:
        """Gives what the first frame says of this surface, by fields of `StreamMetadata`."""

    def nbytes_of(self, task: T) -> int:
        """Gives the bytes that a task and its answer take, about."""


class StreamRoute(Generic[T]):
    """Opens streams."""

    def __init__(
        self,
        engine: Engine,
        stepper: StreamStepper[T],
        settings: Settings,
        room: BodyRoom,
        telemetry: ServerTelemetry,
    ) -> None:
        """Keeps what answers need."""
        self.engine = engine
        self.stepper = stepper
        self.settings = settings
        self.room = room
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one connection.

        Raises:
          Problem: before it is a WebSocket: 503 `loading` or `draining`, 400 `malformed`.
          DeadlineExceeded: before it is one; frames would have no time at all.
        """
        self.stepper.check_running()
        headers = headers_of(scope)
        left_s(headers, self.settings, Exchange.of(scope))
        await receive()
        await send({"type": "websocket.accept"})
        await _Stream(self, headers, Exchange.of(scope), receive, send).serve()

    def metadata(self, exchange: Exchange) -> StreamMetadata:
        """Gives the first frame."""
        return StreamMetadata(
            contract=CONTRACT,
            model=self.engine.default_model,
            formats=list(Media),
            limits=limits_of(self.settings) | {"max_pending_frames": PENDING},
            request_id=exchange.request_id,
            **self.stepper.metadata(),
        )


@dataclass(slots=True)
class _Frame(Generic[T]):
    """One frame on its way to its answer.

    Args:
      media: its format, and that of the answer.
      exchange: as for a request of its own.
      ended: gives back what the frame has taken: room for its bytes, its place.
      stepped: set once its session may take the next step.
      task: what it asks; None while it is not read, or cannot be.
      error: why it cannot be.
    """

    media: Media
    exchange: Exchange
    ended: ExitStack = field(default_factory=ExitStack)
    stepped: asyncio.Event = field(default_factory=asyncio.Event)
    task: T | None = None
    error: Exception | None = None


class _Stream(Generic[T]):
    """One connection. Frames of one session are answered one after the other, others together."""

    def __init__(
        self,
        route: StreamRoute[T],
        headers: Mapping[str, str],
        exchange: Exchange,
        receive: Receive,
        send: Send,
    ) -> None:
        self._route = route
        self._headers = headers
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._places = asyncio.Semaphore(PENDING)
        self._running: set[asyncio.Task[None]] = set()
        self._last_of: dict[str, asyncio.Event] = {}
        self._turn: asyncio.Task[None] | None = None
        self._count = 0
        self._is_open = True

    async def serve(self) -> None:
        """Reads frames until the connection ends."""
        try:
            await self._send_one(Media.JSON, self._route.metadata(self._exchange))
            while self._is_open:
                await self._places.acquire()
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._begin(message)
        finally:
            self._exchange.series = self._count
            for running in self._running:
                running.cancel()

    async def _begin(self, message: MutableMapping[str, Any]) -> None:
        """Reads a frame, then lets its answer be made while the next one is read."""
        text = message.get("text")
        body, media = (
            (message["bytes"], Media.MSGPACK) if text is None else (text.encode(), Media.JSON)
        )
        self._count += 1
        frame = _Frame[T](media, self._exchange.part(self._count))
        frame.ended.callback(self._places.release)
        share = frame.ended.enter_context(self._route.room.share())
        try:
            await self._read(frame, body, share)
        except Exception as error:
            frame.error = error
        session = "" if frame.task is None else frame.task.key.id
        running = asyncio.create_task(
            self._answer(frame, self._last_of.get(session), self._turn), name="stream frame"
        )
        self._running.add(running)
        self._turn = running
        if session:
            self._last_of[session] = frame.stepped
        running.add_done_callback(lambda done: self._finish(done, frame, session))

    def _finish(self, done: asyncio.Task[None], frame: _Frame[T], session: str) -> None:
        self._running.discard(done)
        frame.ended.close()
        frame.stepped.set()
        if self._last_of.get(session) is frame.stepped:
            del self._last_of[session]

    async def _read(self, frame: _Frame[T], body: bytes, share: BodyShare) -> None:
        self._route.stepper.check_running()
        share.take(len(body))
        frame.task = await self._route.stepper.read(body, frame.media, frame.exchange)
        # A point may be two bytes of the body, and is eight of the task.
        share.take(self._route.stepper.nbytes_of(frame.task))

    async def _answer(
        self,
        frame: _Frame[T],
        before: asyncio.Event | None,
        turn: "asyncio.Task[None] | None",
    ) -> None:
        """Makes the answer, after the step before of its session; sends it when it is its turn."""
        if before is not None:
            await before.wait()
        answer: object
        try:
            answer = await self._step(frame)
        except Exception as error:
            answer = told_document(error, frame.exchange)
        frame.stepped.set()
        self._route.telemetry.finish(frame.exchange)
        if turn is not None and not turn.done():
            await asyncio.wait((turn,))
        if self._is_open:
            await self._reply(frame, answer)

    async def _step(self, frame: _Frame[T]) -> bytes:
        if frame.error is not None or frame.task is None:
            raise frame.error or RuntimeError("a frame without a task")
        return await self._route.stepper.answer(
            frame.task,
            frame.media,
            frame.exchange,
            lambda: left_s(self._headers, self._route.settings, frame.exchange),
        )

    async def _reply(self, frame: _Frame[T], answer: object) -> None:
        try:
            await self._send_one(frame.media, answer)
            is_last = self._turn is asyncio.current_task()
            if is_last and self._route.engine.phase is not Phase.RUNNING:
                self._is_open = False
                await self._send(
                    {"type": "websocket.close", "code": DRAINING_CODE, "reason": DRAINING}
                )
        except OSError:
            # The client has gone; `serve` hears of it too.
            self._is_open = False

    async def _send_one(self, media: Media, content: object) -> None:
        body = content if isinstance(content, bytes) else ENCODE[media](content)
        if media is Media.JSON:
            await self._send({"type": "websocket.send", "text": body.decode()})
        else:
            await self._send({"type": "websocket.send", "bytes": body})
