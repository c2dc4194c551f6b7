"""One WebSocket connection, with the bound on clients that take nothing."""

import asyncio
from asyncio.transports import BaseTransport
from typing import Any, ClassVar, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from xlstmd.server.settings import Settings
from xlstmd.server.write_watch import WriteWatch


class StreamConnection(WebSocketsSansIOProtocol):
    """Uvicorn's protocol, which would wait for ever for a client that takes nothing."""

    settings: ClassVar[Settings]

    def __init__(self, *args: Any, **options: Any) -> None:
        """Starts without a connection."""
        super().__init__(*args, **options)
        self._writing: WriteWatch

    @classmethod
    def bounded_by(cls, settings: Settings) -> type["StreamConnection"]:
        """Gives the protocol class for some settings."""
        return type("BoundedStreamConnection", (cls,), {"settings": settings})

    def connection_made(self, transport: BaseTransport) -> None:
        """Takes over the connection of the request that asked for it."""
        super().connection_made(transport)
        self._writing = WriteWatch(
            cast(asyncio.Transport, transport), self.loop, self.settings.write_timeout_s
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the timer."""
        self._writing.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Starts to watch whether the client takes anything."""
        super().pause_writing()
        self._writing.start()

    def resume_writing(self) -> None:
        """Notes that the client has taken a good part."""
        super().resume_writing()
        self._writing.resumed()
