"""Reading a request's body, within bounds of size and time; noticing that a client has gone."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from xlstmd.errors import Overloaded
from xlstmd.server.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
T = TypeVar("T")

# Nobody reads this answer; the number is what proxies log for it.
CLIENT_GONE_STATUS: Final = 499

ROOM_RETRY_S: Final = 1.0


class BodyRoom:
    """Bytes of the bodies of all requests that are being read or decoded, bounded."""

    def __init__(self, max_bytes: int) -> None:
        """Starts empty."""
        self.max_bytes = max_bytes
        self.nbytes = 0

    @contextmanager
    def share(self) -> Iterator["BodyShare"]:
        """Gives one request's share, which is freed at the end of the context."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.nbytes -= share.nbytes


class BodyShare:
    """What one request has of the room."""

    def __init__(self, room: BodyRoom) -> None:
        """Starts empty."""
        self._room = room
        self.nbytes = 0

    def take(self, nbytes: int) -> None:
        """Takes room for some more bytes.

        Raises:
          Overloaded: there is none.
        """
        if self._room.nbytes + nbytes > self._room.max_bytes:
            raise Overloaded("too many bodies are being read", retry_after_s=ROOM_RETRY_S)
        self._room.nbytes += nbytes
        self.nbytes += nbytes


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    share: BodyShare,
    *,
    max_bytes: int,
    timeout_s: float,
) -> bytes:
    """Reads the whole body.

    Args:
      receive: of the ASGI scope.
      headers: of the request.
      share: where room for the body is taken.
      max_bytes: a longer body is refused, by its `Content-Length` before a byte is read.
      timeout_s: for the whole body.

    Raises:
      Problem: 413 `body_too_large`, 408 `body_timeout`, 400 `malformed` for a bad length, or the
        client has gone.
      Overloaded: the bodies of all requests together are too large.
    """
    _check_announced(headers, max_bytes)
    chunks: list[bytes] = []
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise client_gone()
                chunk = message.get("body", b"")
                share.take(len(chunk))
                if share.nbytes > max_bytes:
                    raise _too_large(max_bytes, f"more than {max_bytes} bytes")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise _too_slow(timeout_s, f"{share.nbytes} bytes") from None


def _check_announced(headers: Mapping[str, str], max_bytes: int) -> None:
    announced = headers.get("content-length", "")
    if announced and not (announced.isascii() and announced.isdigit()):
        raise Problem(400, "malformed", f"Content-Length: expected a number, got {announced[:40]}")
    if announced and int(announced) > max_bytes:
        raise _too_large(max_bytes, f"{announced} bytes")


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Waits for work, and cancels it when the client hangs up.

    Raises:
      Problem: the client has gone; whatever the work raises comes through too.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise client_gone()
    finally:
        working.cancel()
        watching.cancel()


def client_gone() -> Problem:
    """Gives the error for a client that did not wait."""
    return Problem(CLIENT_GONE_STATUS, "client_gone", "the client closed the connection")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _too_large(max_bytes: int, got: str) -> Problem:
    expected = f"at most {max_bytes} bytes"
    detail = f"body: expected {expected}, got {got}"
    return Problem(413, "body_too_large", detail, field="body", expected=expected, got=got)


def _too_slow(timeout_s: float, got: str) -> Problem:
    expected = f"the whole body within {timeout_s:g} s"
    detail = f"body: expected {expected}, got {got}"
    return Problem(408, "body_timeout", detail, field="body", expected=expected, got=got)
