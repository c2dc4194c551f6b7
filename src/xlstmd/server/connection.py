"""One connection: bounds on its number, on request heads and on clients that take nothing."""

import asyncio
import logging
import uuid
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xlstmd.server import problems
from xlstmd.server.settings import Settings
from xlstmd.server.write_watch import WriteWatch

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 65_536
END_OF_HEAD: Final = b"\r\n\r\n"


class Connection(HttpToolsProtocol):
    """Uvicorn's protocol with the timers that it lacks."""

    settings: ClassVar[Settings]

    def __init__(self, *args: Any, **options: Any) -> None:
        """Starts without timers."""
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._head_tail = b""
        self._writing: WriteWatch

    @classmethod
    def bounded_by(cls, settings: Settings) -> type["Connection"]:
        """Gives the protocol class for some settings."""
        return type("BoundedConnection", (cls,), {"settings": settings})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts to wait for a head; one connection too many is closed at once."""
        super().connection_made(transport)
        self._writing = WriteWatch(transport, self.loop, self.settings.write_timeout_s)
        if len(self.connections) > self.settings.max_connections:
            logger.warning("connection refused", extra={"connections": len(self.connections)})
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timers."""
        self._head_is_complete()
        self._writing.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Watches the size and the time of heads."""
        if self._head_timer is None and self._is_idle:
            self._await_head()
        room = MAX_HEAD_BYTES - self._head_bytes
        self._head_bytes += len(data)
        joined = self._head_tail + data[: max(room, 0)]
        self._head_tail = joined[1 - len(END_OF_HEAD) :]
        # A head may end within this piece; what follows it is a body, and bounded elsewhere.
        if self._head_timer is not None and len(data) > room and END_OF_HEAD not in joined:
            self.send_400_response(f"head: expected at most {MAX_HEAD_BYTES} bytes, got more")
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stops to wait for a head."""
        self._head_is_complete()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """Starts to watch whether the client takes anything."""
        super().pause_writing()
        self._writing.start()

    def resume_writing(self) -> None:
        """Notes that the client has taken a good part."""
        super().resume_writing()
        self._writing.resumed()

    def on_response_complete(self) -> None:
        """Watches the rest of an answer that the client has yet to take."""
        super().on_response_complete()
        self._writing.start()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP with a problem document, and closes."""
        if self.transport.is_closing():
            return
        detail = (
            msg if msg.startswith("head:") else "request: expected HTTP/1.1, got something else"
        )
        body = problems.encode_problem(problems.Problem(400, "malformed", detail), uuid.uuid4().hex)
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.settings.header_timeout_s, self._head_is_late)

    def _head_is_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
