"""The forecast route: `POST /api/v1/xlstm/forecast`, a bare ASGI handler."""

from collections.abc import Mapping
from typing import Final

from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.tasks import ForecastResult, ForecastTask
from xlstmd.errors import InputError
from xlstmd.server.answer import encode_forecasts
from xlstmd.server.body import BodyRoom, Receive, read_body, unless_gone
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.hot_route import (
    INLINE_BODY_BYTES,
    INLINE_NUMBERS,
    headers_of,
    left_s,
    maybe_in_thread,
    send_body,
)
from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import method_not_allowed, not_running
from xlstmd.server.question import Question, read_question
from xlstmd.server.settings import Settings

FORECAST_PATH: Final = "/api/v1/xlstm/forecast"


class ForecastRoute:
    """Answers forecast requests."""

    def __init__(self, engine: Engine, settings: Settings, room: BodyRoom) -> None:
        """Keeps what answers need."""
        self._engine = engine
        self._settings = settings
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
          Problem: the request is refused; whatever the engine raises comes through too.
        """
        exchange = Exchange.of(scope)
        exchange.endpoint = FORECAST_PATH
        headers = headers_of(scope)
        if exchange.method != "POST":
            raise method_not_allowed(exchange.method, "POST")
        try:
            question, accepted = await self._ask(headers, receive, exchange)
            task = await maybe_in_thread(
                _points(question) > INLINE_NUMBERS,
                lambda: question.task(left_s(headers, self._settings, exchange)),
            )
        except InputError as error:
            if error.code == "non_finite":
                self._engine.telemetry.nonfinite.labels(exchange.model, "input").inc()
            raise
        result = await unless_gone(receive, self._submit(task, exchange))
        body = await maybe_in_thread(
            question.numbers > INLINE_NUMBERS,
            lambda: encode_forecasts(question, result, accepted, exchange),
        )
        await send_body(send, body, accepted)

    async def _ask(
        self, headers: Mapping[str, str], receive: Receive, exchange: Exchange
    ) -> tuple[Question, Media]:
        """Reads the request and the format that the answer shall have."""
        if self._engine.phase is not Phase.RUNNING:
            raise not_running(self._engine.phase)
        media = request_media(headers)
        accepted = answer_media(headers.get("accept", ""), media)
        left_s(headers, self._settings, exchange)
        with self._room.share() as share:
            body = await read_body(
                receive,
                headers,
                share,
                max_bytes=self._settings.max_body_bytes,
                timeout_s=self._settings.body_timeout_s,
            )
            question = await maybe_in_thread(
                len(body) > INLINE_BODY_BYTES, lambda: read_question(body, media, self._settings)
            )
        exchange.series = len(question.labels)
        exchange.model = self._engine.find_model(question.model)
        return question, accepted

    async def _submit(self, task: ForecastTask, exchange: Exchange) -> ForecastResult:
        result = await self._engine.submit(task)
        exchange.queue_ms, exchange.compute_ms = result.queue_ms, result.compute_ms
        return result


def _points(question: Question) -> int:
    return sum(len(history) for history in question.histories)
