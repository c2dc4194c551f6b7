"""What the bare ASGI routes share: headers, deadlines, work beside the loop, large answers."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from xlstmd.errors import DeadlineExceeded
from xlstmd.server.exchange import MS_PER_S, Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.problems import Problem
from xlstmd.server.settings import Settings

T = TypeVar("T")

# A number as text, about: so much of the room for bodies an answer takes.
BYTES_PER_NUMBER: Final = 20

# Above these sizes the work goes to a thread: below, the way there would cost more than it saves.
INLINE_BODY_BYTES: Final = 65_536
INLINE_NUMBERS: Final = 8_192

# A large answer is handed over in pieces, so that a slow client fills no second copy of it.
PIECE_BYTES: Final = 262_144


def headers_of(scope: Scope) -> dict[str, str]:
    """Gives the headers of a request as texts, names in lower case."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def left_s(headers: Mapping[str, str], settings: Settings, exchange: Exchange) -> float:
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
    remaining_s = allowed_s - exchange.elapsed_s
    if remaining_s <= 0.0:
        raise DeadlineExceeded(f"no answer within {allowed_s:g} s")
    return remaining_s


async def maybe_in_thread(is_large: bool, work: Callable[[], T]) -> T:
    """Does some work, beside the event loop where it is large."""
    return await asyncio.to_thread(work) if is_large else work()


async def send_body(send: Send, body: bytes, media: str) -> None:
    """Sends an answer."""
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
