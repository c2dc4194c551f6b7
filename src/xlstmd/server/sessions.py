"""The session routes below `/api/v1/xlstm/sessions`, one bare ASGI handler.

`GET` and `DELETE` of `{surface}/{id}`; `POST` of `{surface}/{id}/export`, `{surface}/{id}/fork` and
`{surface}/import`.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from xlstmd.engine.engine import Engine, Phase
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_tasks import SessionInfo, Sessions
from xlstmd.engine.snapshot import decode_snapshot
from xlstmd.errors import InputError
from xlstmd.models.calendar import format_time
from xlstmd.server.answer import ENCODE, timing_of
from xlstmd.server.append_task import TENANT
from xlstmd.server.body import BodyRoom, BodyShare, Receive, read_body
from xlstmd.server.decode import decode
from xlstmd.server.description import SURFACES
from xlstmd.server.exchange import Exchange
from xlstmd.server.gate import Scope, Send
from xlstmd.server.hot_route import INLINE_BODY_BYTES, headers_of, maybe_in_thread, send_body
from xlstmd.server.media import Media, answer_media, request_media
from xlstmd.server.problems import Problem, method_not_allowed, not_running
from xlstmd.server.question import check_name
from xlstmd.server.session_wire import EndAnswer, ForkRequest, SessionAnswer
from xlstmd.server.settings import Settings
from xlstmd.server.wire import ID_PATTERN

SESSIONS_PATH: Final = "/api/v1/xlstm/sessions"
SNAPSHOT_MEDIA: Final = "application/octet-stream"

ONE: Final = SESSIONS_PATH + "/{surface}/{id}"
EXPORT: Final = ONE + "/export"
FORK: Final = ONE + "/fork"
IMPORT: Final = SESSIONS_PATH + "/{surface}/import"

# How the parts of a path below `SESSIONS_PATH` are told apart.
PLACE: Final = re.compile(r"/(?P<surface>[^/]+)/(?P<id>[^/]+)(?:/(?P<action>export|fork))?/?")
NANOSECONDS: Final = 10**9
MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a session.

    Args:
      key: of the session; of the import it is not known yet, and its id is empty.
      headers: of the request.
      query: of its address.
      receive: gives its body.
      accepted: format of the answer.
      exchange: of the request.
    """

    key: SessionKey
    headers: Mapping[str, str]
    query: Mapping[str, str]
    receive: Receive
    accepted: Media
    exchange: Exchange


Answer = tuple[bytes, str]
Action = Callable[[Call], Awaitable[Answer]]


class SessionsRoute:
    """Shows sessions, ends them, and hands them over."""

    def __init__(
        self, engine: Engine, sessions: Sessions, settings: Settings, room: BodyRoom
    ) -> None:
        """Keeps what answers need."""
        self._engine = engine
        self._sessions = sessions
        self._settings = settings
        self._room = room
        self._actions: dict[str, dict[str, Action]] = {
            ONE: {"GET": self._show, "DELETE": self._end},
            EXPORT: {"POST": self._export},
            FORK: {"POST": self._fork},
            IMPORT: {"POST": self._import},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request.

        Raises:
          Problem: the request is refused; whatever the engine raises comes through too.
        """
        exchange = Exchange.of(scope)
        template, key = _place(exchange.path, scope["method"])
        exchange.endpoint = template
        action = self._actions[template].get(scope["method"])
        if action is None:
            raise method_not_allowed(exchange.method, _allowed(self._actions[template]))
        if self._engine.phase is not Phase.RUNNING:
            raise not_running(self._engine.phase)
        headers = headers_of(scope)
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        accept = headers.get("accept", "")
        accepted = Media.JSON if template == EXPORT else answer_media(accept, Media.JSON)
        body, media = await action(Call(key, headers, query, receive, accepted, exchange))
        await send_body(send, body, media)

    async def _show(self, call: Call) -> Answer:
        return _encode(await self._sessions.info(call.key), call)

    async def _end(self, call: Call) -> Answer:
        info = await self._sessions.info(call.key)
        await self._sessions.end(call.key)
        call.exchange.model = info.model
        answer = EndAnswer(
            session=info.key.id,
            surface=info.key.surface,
            ended=True,
            model=info.model,
            timing=timing_of(call.exchange),
            request_id=call.exchange.request_id,
        )
        return ENCODE[call.accepted](answer), call.accepted

    async def _export(self, call: Call) -> Answer:
        return await self._sessions.export(call.key), SNAPSHOT_MEDIA

    async def _fork(self, call: Call) -> Answer:
        media = request_media(call.headers)
        with self._room.share() as share:
            body = await self._read(call, share)
            request = decode(body, media, ForkRequest, path="")
        check_name(request.to, ID_PATTERN, "to")
        return _encode(await self._sessions.fork(call.key, request.to), call)

    async def _import(self, call: Call) -> Answer:
        _check_binary(call.headers)
        for name in call.query.keys() - {"session"}:
            raise InputError(f"query.{name[:40]}", "only session", "it", code="unknown_field")
        with self._room.share() as share:
            snapshot = await self._read(call, share)
            key = await maybe_in_thread(
                len(snapshot) > INLINE_BODY_BYTES, lambda: _key_of(snapshot, call)
            )
            return _encode(await self._sessions.take_over(key, snapshot), call)

    async def _read(self, call: Call, share: BodyShare) -> bytes:
        return await read_body(
            call.receive,
            call.headers,
            share,
            max_bytes=self._settings.max_body_bytes,
            timeout_s=self._settings.body_timeout_s,
        )


def _place(path: str, method: str) -> tuple[str, SessionKey]:
    """Gives the route of a path, and whose session it is about."""
    found = PLACE.fullmatch(path.removeprefix(SESSIONS_PATH))
    if found is None or found["surface"] not in SURFACES:
        raise Problem(404, "not_found", f"no route {path[:100]}")
    if found["action"] is None and found["id"] == "import" and method == "POST":
        return IMPORT, SessionKey(TENANT, found["surface"], "")
    check_name(found["id"], ID_PATTERN, "session")
    template = {None: ONE, "export": EXPORT, "fork": FORK}[found["action"]]
    return template, SessionKey(TENANT, found["surface"], found["id"])


def _allowed(methods: Mapping[str, Action]) -> str:
    return ", ".join(sorted(methods.keys() | ({"HEAD"} if "GET" in methods else set())))


def _check_binary(headers: Mapping[str, str]) -> None:
    given = headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != SNAPSHOT_MEDIA:
        shown = given[:100] or "none"
        detail = f"Content-Type: expected {SNAPSHOT_MEDIA}, got {shown}"
        raise Problem(
            415,
            "unsupported_media",
            detail,
            field="Content-Type",
            expected=SNAPSHOT_MEDIA,
            got=shown,
        )


def _key_of(snapshot: bytes, call: Call) -> SessionKey:
    """Gives the id that the address asks for, else the one in the snapshot; the tenant is ours."""
    written = decode_snapshot(snapshot).key
    if written.surface != call.key.surface:
        expected = f"a session of {call.key.surface}"
        raise InputError("snapshot", expected, f"one of {written.surface[:40]}")
    session = call.query.get("session", written.id)
    check_name(session, ID_PATTERN, "session")
    return call.key._replace(id=session)


def _encode(info: SessionInfo, call: Call) -> Answer:
    call.exchange.model = info.model
    answer = SessionAnswer(
        session=info.key.id,
        surface=info.key.surface,
        seq=info.seq,
        durable_seq=info.durable_seq,
        bytes=info.nbytes,
        model=info.model,
        created=_time(info.created_ns),
        last_used=_time(info.used_ns),
        tier=info.tier,
        timing=timing_of(call.exchange),
        request_id=call.exchange.request_id,
    )
    return ENCODE[call.accepted](answer), call.accepted


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    time = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // MICROSECOND)
    return format_time(time)
