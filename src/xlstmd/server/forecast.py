"""The forecast route: `POST /api/v1/xlstm/forecast`, a bare ASGI handler."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.tasks import ForecastResult, ForecastTask
from xlstmd.errors import DeadlineExceeded, InputError
from xlstmd.server.answer import encode_forecasts
from xlstmd.server.body import BodyRoom, Receive, read_body, unless_gone
from xlstmd.server.exchange import MS_PER_S, Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import Problem, method_not_allowed, not_running
from xlstmd.server.question import Question, read_question
from xlstmd.server.settings import Settings

T = TypeVar("T")

FORECAST_PATH: Final = "/api/v1/xlstm/forecast"

# Above these sizes the work goes to a thread: below, the way there would cost more than it saves.
INLINE_BODY_BYTES: Final = 65_536
INLINE_NUMBERS: Final = 8_192

# A large answer is handed over in pieces, so that a slow client fills no second copy of it.
PIECE_BYTES: Final = 262_144


class ForecastRoute:
    """Answers forecast requests."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Keeps what answers need."""
        self._engine = engine
        self._settings = settings
        self._room = BodyRoom(settings.max_pending_body_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
          Problem: the request is refused; whatever the engine raises comes through too.
        """
        exchange = Exchange.of(scope)
        exchange.endpoint = FORECAST_PATH
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if exchange.method != "POST":
            raise method_not_allowed(exchange.method, "POST")
        try:
            question, accepted = await self._ask(headers, receive, exchange)
            task = await _maybe_in_thread(
                _points(question) > INLINE_NUMBERS,
                lambda: question.task(_left_s(headers, self._settings, exchange)),
            )
        except InputError as error:
            if error.code == "non_finite":
                self._engine.telemetry.nonfinite.labels(exchange.model, "input").inc()
            raise
        result = await unless_gone(receive, self._submit(task, exchange))
        body = await _maybe_in_thread(
            question.numbers > INLINE_NUMBERS,
            lambda: encode_forecasts(question, result, accepted, exchange),
        )
        await _send_body(send, body, accepted)

    async def _ask(
        self, headers: Mapping[str, str], receive: Receive, exchange: Exchange
    ) -> tuple[Question, Media]:
        """Reads the request and the format that the answer shall have."""
        if self._engine.phase is not Phase.RUNNING:
            raise not_running(self._engine.phase)
        media = request_media(headers)
        accepted = answer_media(headers.get("accept", ""), media)
        _left_s(headers, self._settings, exchange)
        with self._room.share() as share:
            body = await read_body(
                receive,
                headers,
                share,
                max_bytes=self._settings.max_body_bytes,
                timeout_s=self._settings.body_timeout_s,
            )
            question = await _maybe_in_thread(
                len(body) > INLINE_BODY_BYTES, lambda: read_question(body, media, self._settings)
            )
        exchange.series = len(question.labels)
        exchange.model = self._engine.find_model(question.model)
        return question, accepted

    async def _submit(self, task: ForecastTask, exchange: Exchange) -> ForecastResult:
        result = await self._engine.submit(task)
        exchange.queue_ms, exchange.compute_ms = result.queue_ms, result.compute_ms
        return result


def _left_s(headers: Mapping[str, str], settings: Settings, exchange: Exchange) -> float:
    """Gives how many seconds the answer may still take.

    Raises:
      Problem: 400 `malformed` for a deadline that is no number.
      DeadlineExceeded: none are left.
    """
    text = headers.get("x-deadline-ms")
    allowed_s = settings.max_deadline_s
    if text is not None:
        try:
            milliseconds = float(text)
        except ValueError:
            milliseconds = math.nan
        if math.isnan(milliseconds):
            field, expected, got = "X-Deadline-Ms", "milliseconds", text[:40]
            detail = f"{field}: expected {expected}, got {got}"
            raise Problem(400, "malformed", detail, field=field, expected=expected, got=got)
        allowed_s = min(milliseconds / MS_PER_S, allowed_s)
    left_s = allowed_s - exchange.elapsed_s
    if left_s <= 0.0:
        raise DeadlineExceeded(f"no answer within {allowed_s:g} s")
    return left_s


def _points(question: Question) -> int:
    return sum(len(history) for history in question.histories)


async def _maybe_in_thread(is_large: bool, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if is_large else work()


async def _send_body(send: Send, body: bytes, media: Media) -> None:
    headers = [
        (b"content-type", media.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"vary", b"accept"),
    ]
    start: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": headers}
    await send(start)
    view = memoryview(body)
    for first in range(0, len(body), PIECE_BYTES):
        piece = bytes(view[first : first + PIECE_BYTES]) if len(body) > PIECE_BYTES else body
        is_last = first + PIECE_BYTES >= len(body)
        await send({"type": "http.response.body", "body": piece, "more_body": not is_last})
