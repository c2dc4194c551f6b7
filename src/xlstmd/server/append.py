"""The append route: `POST /api/v1/xlstm/forecast/append`, a bare ASGI handler."""

from collections.abc import Mapping
from typing import Final

from xlstmd.engine.session_tasks import AppendTask
from xlstmd.server.appender import Appender
from xlstmd.server.body import BodyRoom, Receive, read_body, unless_gone
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.hot_route import headers_of, left_s, send_body
from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import method_not_allowed
from xlstmd.server.settings import Settings

APPEND_PATH: Final = "/api/v1/xlstm/forecast/append"


class AppendRoute:
    """Takes points for streams."""

    def __init__(self, appender: Appender, settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        self._appender = appender
        self._settings = settings
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
          Problem: the request is refused; whatever the engine raises comes through too.
        """
        exchange = Exchange.of(scope)
        exchange.endpoint = APPEND_PATH
        headers = headers_of(scope)
        if exchange.method != "POST":
            raise method_not_allowed(exchange.method, "POST")
        self._appender.check_running()
        media = request_media(headers)
        accepted = answer_media(headers.get("accept", ""), media)
        task = await self._read(headers, receive, media, exchange)
        answer = self._appender.answer(
            task, accepted, exchange, lambda: left_s(headers, self._settings, exchange)
        )
        await send_body(send, await unless_gone(receive, answer), accepted)

    async def _read(
        self, headers: Mapping[str, str], receive: Receive, media: Media, exchange: Exchange
    ) -> AppendTask:
        left_s(headers, self._settings, exchange)
        with self._room.share() as share:
            body = await read_body(
                receive,
                headers,
                share,
                max_bytes=self._settings.max_body_bytes,
                timeout_s=self._settings.body_timeout_s,
            )
            return await self._appender.read(body, media, exchange)
