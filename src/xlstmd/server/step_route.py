"""A route that takes steps of sessions, a bare ASGI handler."""

from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from xlstmd.server.body import BodyRoom, Receive, read_body, unless_gone
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.hot_route import headers_of, left_s, send_body
from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import method_not_allowed
from xlstmd.server.settings import Settings

T = TypeVar("T")


class Stepper(Protocol[T]):
    """Reads a request, takes its step, writes its answer."""

    def check_running(self) -> None:
        """Refuses requests before and after the engine's time."""

    async def read(self, body: bytes, media: Media, exchange: Exchange) -> T:
        """Decodes and checks a request."""

    async def answer(
        self, task: T, media: Media, exchange: Exchange, left_s: Callable[[], float]
    ) -> bytes:
        """Takes the step and writes the answer."""


class StepRoute(Generic[T]):
    """Answers POST requests of one path."""

    def __init__(self, path: str, stepper: Stepper[T], settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        self._path = path
        self._stepper: Stepper[T] = stepper
        self._settings = settings
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
          Problem: the request is refused; whatever the engine raises comes through too.
        """
        exchange = Exchange.of(scope)
        exchange.endpoint = self._path
        headers = headers_of(scope)
        if exchange.method != "POST":
            raise method_not_allowed(exchange.method, "POST")
        self._stepper.check_running()
        media = request_media(headers)
        accepted = answer_media(headers.get("accept", ""), media)
        task = await self._read(headers, receive, media, exchange)
        answer = self._stepper.answer(
            task, accepted, exchange, lambda: left_s(headers, self._settings, exchange)
        )
        await send_body(send, await unless_gone(receive, answer), accepted)

    async def _read(
        self, headers: Mapping[str, str], receive: Receive, media: Media, exchange: Exchange
    ) -> T:
        left_s(headers, self._settings, exchange)
        with self._room.share() as share:
            body = await read_body(
                receive,
                headers,
                share,
                max_bytes=self._settings.max_body_bytes,
                timeout_s=self._settings.body_timeout_s,
            )
            return await self._stepper.read(body, media, exchange)
