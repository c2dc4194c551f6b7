"""The outermost layer: ids, `Host` and `Origin`, headers, log and metrics of every request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final

from xlstmd.server import problems
from xlstmd.server.exchange import Exchange
from xlstmd.server.security import ANSWER_POLICY, HEADERS, HostCheck
from xlstmd.server.telemetry import ServerTelemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

logger = logging.getLogger(__name__)
access = logging.getLogger("xlstmd.access")

# How long the rest of a refused body is read and thrown away, so that a client that is still
# sending can read the refusal before the connection is closed.
LINGER_S: Final = 1.0

# What a WebSocket has in the place of a method; a page of another origin must not open one.
UPGRADE: Final = "UPGRADE"
SWITCHING: Final = 101


class Gate:
    """An ASGI application around another."""

    def __init__(
        self,
        app: ASGIApp,
        hosts: HostCheck,
        telemetry: ServerTelemetry,
        streams: Mapping[str, ASGIApp],
    ) -> None:
        """Wraps an application.

        Args:
          app: answers requests.
          hosts: by whose names we may be called.
          telemetry: counts.
          streams: what serves WebSockets, by path; by the part before a last name where the path
            ends with a slash.
        """
        self.app = app
        self._streams = streams
        self.in_flight = 0
        self._hosts = hosts
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request; passes the lifespan through."""
        if scope["type"] == "websocket":
            await self._serve_stream(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange.begin(scope, headers)
        incoming = Incoming(receive, headers)
        outgoing = Outgoing(send, incoming, exchange)
        self.in_flight += 1
        try:
            await self._handle(scope, headers, incoming, outgoing, exchange)
        finally:
            self.in_flight -= 1
            self._telemetry.finish(exchange)
            access.info("request", extra=exchange.log_fields())

    async def _handle(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        incoming: "Incoming",
        outgoing: "Outgoing",
        exchange: Exchange,
    ) -> None:
        try:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            self._hosts.check(scope["method"], hosts, headers.get(b"origin"))
            if scope["method"] == "HEAD":
                # The server below keeps back the body of an answer to HEAD.
                scope = {**scope, "method": "GET"}
            await self.app(scope, incoming.receive, outgoing.send)
        except Exception as error:
            if outgoing.has_started:
                raise
            await send_problem(outgoing.send, told_problem(error, exchange), exchange)

    async def _serve_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one WebSocket; one that is refused gets a problem document and no upgrade."""
        headers = dict(scope["headers"])
        scope["method"] = UPGRADE
        exchange = Exchange.begin(scope, headers)
        upgrade = Upgrade(send, exchange)
        try:
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            self._hosts.check(UPGRADE, hosts, headers.get(b"origin"))
            folder = scope["path"].rpartition("/")[0] + "/"
            stream = self._streams.get(scope["path"]) or self._streams.get(folder)
            if stream is None:
                detail = f"no stream {scope['path'][:100]}"
                raise problems.Problem(404, "not_found", detail)
            exchange.endpoint = scope["path"]
            await stream(scope, receive, upgrade.send)
        except Exception as error:
            if upgrade.is_accepted:
                raise
            await send_problem(upgrade.refuse, told_problem(error, exchange), exchange)
            self._telemetry.finish(exchange)
        finally:
            access.info("stream", extra=exchange.log_fields())


class Upgrade:
    """The sending side of a WebSocket, before and after it is one."""

    def __init__(self, send: Send, exchange: Exchange) -> None:
        """Wraps a send function."""
        self.is_accepted = False
        self._send = send
        self._exchange = exchange

    async def send(self, message: Message) -> None:
        """Sends a message."""
        if message["type"] == "websocket.accept":
            self.is_accepted = True
            self._exchange.status = SWITCHING
        await self._send(message)

    async def refuse(self, message: Message) -> None:
        """Sends a part of an answer without upgrade."""
        if message["type"] == "http.response.start":
            self._exchange.status = message["status"]
            own = [(b"x-request-id", self._exchange.request_id.encode()), *HEADERS]
            message = {**message, "headers": [*message["headers"], *own]}
        await self._send({**message, "type": f"websocket.{message['type']}"})


class Incoming:
    """The receiving side; knows whether a body is still on its way."""

    def __init__(self, receive: Receive, headers: dict[bytes, bytes]) -> None:
        """Reads from the headers whether there is a body at all."""
        self._receive = receive
        length = headers.get(b"content-length", b"0")
        self.is_pending = length.strip() != b"0" or b"transfer-encoding" in headers

    async def receive(self) -> Message:
        """Gives the next message."""
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.is_pending = False
        return message

    async def discard(self) -> None:
        """Throws away what is left of the body, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while self.is_pending:
                    await self.receive()


class Outgoing:
    """The sending side; adds headers, and closes the connection of a body that nobody read."""

    def __init__(self, send: Send, incoming: Incoming, exchange: Exchange) -> None:
        """Wraps a send function."""
        self.has_started = False
        self._send = send
        self._incoming = incoming
        self._exchange = exchange

    async def send(self, message: Message) -> None:
        """Sends a message."""
        if message["type"] == "http.response.start":
            self.has_started = True
            self._exchange.status = message["status"]
            await self._send({**message, "headers": self._headers(message.get("headers", []))})
            return
        if self._incoming.is_pending and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._incoming.discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    def _headers(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in given}
        added = [(b"x-request-id", self._exchange.request_id.encode()), *HEADERS]
        if b"content-security-policy" not in names:
            added.append((b"content-security-policy", ANSWER_POLICY.encode()))
        if b"cache-control" not in names:
            added.append((b"cache-control", b"no-store"))
        if self._incoming.is_pending:
            added.append((b"connection", b"close"))
        return [*given, *added]


def told_problem(error: Exception, exchange: Exchange) -> problems.Problem:
    """Gives what may be told of an error; what may not is logged."""
    problem = problems.to_problem(error)
    if problem.status == problems.INTERNAL:
        logger.error("request failed", extra={"request_id": exchange.request_id}, exc_info=error)
    return problem


def told_document(error: Exception, exchange: Exchange) -> problems.ProblemDocument:
    """Gives the document of an error that goes where there are no headers; notes the outcome."""
    problem = told_problem(error, exchange)
    exchange.outcome, exchange.status = problem.code, problem.status
    document = problems.document_of(
        problem, exchange.request_id, state_advanced=exchange.state_advanced
    )
    retry_after = problem.headers.get("retry-after")
    document.retry_after_s = None if retry_after is None else int(retry_after)
    return document


async def send_problem(send: Send, problem: problems.Problem, exchange: Exchange) -> None:
    """Answers with a problem document."""
    exchange.outcome = problem.code
    body = problems.encode_problem(
        problem, exchange.request_id, state_advanced=exchange.state_advanced
    )
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
