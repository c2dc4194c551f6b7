"""The part of the OpenAPI document about streams and their sessions."""

from typing import Any, Final

from xlstmd.server.append import APPEND_PATH
from xlstmd.server.description import SURFACES
from xlstmd.server.media import Media
from xlstmd.server.openapi_parts import HEADERS, Document, answers, problem_answers, reference
from xlstmd.server.session_wire import (
    AppendAnswer,
    AppendRequest,
    EndAnswer,
    ForkRequest,
    SessionAnswer,
)
from xlstmd.server.sessions import EXPORT, FORK, IMPORT, ONE, SNAPSHOT_MEDIA

TYPES: Final = (AppendRequest, AppendAnswer, SessionAnswer, EndAnswer, ForkRequest)

APPEND_PROBLEMS: Final = (
    400, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 500, 503, 504, 507,
)  # fmt: skip
READING_PROBLEMS: Final = (404, 405, 406, 410, 422, 500, 503)
CHANGING_PROBLEMS: Final = (403, *READING_PROBLEMS, 507)
HANDING_PROBLEMS: Final = (400, 403, 404, 405, 406, 408, 409, 410, 413, 415, 422, 500, 503, 507)

EXAMPLE: Final = {
    "session": "pump-7",
    "seq": 1,
    "append": [1.0, 1.2, None, 1.4, 1.3, 1.6],
    "start": "2026-01-01T00:00:00Z",
    "freq": "h",
    "horizon": 3,
    "quantile_levels": [0.1, 0.5, 0.9],
    "anomaly_rate": 0.01,
}
FORK_EXAMPLE: Final = {"to": "pump-7-what-if"}
APPEND_TEXT: Final = (
    "Takes points in and forecasts from all points so far. Send the same request again when its "
    "answer was lost: it gets the same answer and advances nothing. Formats are those of forecast. "
    "The same messages go through the WebSocket /api/v1/xlstm/forecast/stream, one a frame."
)
PLACE: Final = (
    {
        "name": "surface",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": list(SURFACES)},
    },
    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
)
NAME: Final = {
    "name": "session",
    "in": "query",
    "description": "Id of the session here; without it the one in the snapshot.",
    "schema": {"type": "string"},
}
SNAPSHOT: Final = {SNAPSHOT_MEDIA: {"schema": {"type": "string", "format": "binary"}}}


def session_paths() -> Document:
    """Gives the paths."""
    return {
        APPEND_PATH: {"post": _append()},
        ONE: {
            "get": _operation("session", "Describes a session", "SessionAnswer", READING_PROBLEMS),
            "delete": _operation("end", "Ends a session", "EndAnswer", CHANGING_PROBLEMS),
        },
        EXPORT: {"post": _export()},
        FORK: {"post": _fork()},
        IMPORT: {"post": _import()},
    }


def _append() -> Document:
    request = {"schema": reference("AppendRequest")}
    return {
        "operationId": "append",
        "tags": ["sessions"],
        "summary": "Takes points into a stream; forecasts, and scores them",
        "description": APPEND_TEXT,
        "parameters": list(HEADERS),
        "requestBody": {
            "required": True,
            "content": {Media.JSON: request | {"example": EXAMPLE}, Media.MSGPACK: request},
        },
        "responses": answers("What became of it", "AppendAnswer")
        | problem_answers(APPEND_PROBLEMS),
    }


def _operation(name: str, summary: str, answer: str, problems: tuple[int, ...]) -> Document:
    return {
        "operationId": name,
        "tags": ["sessions"],
        "summary": summary,
        "parameters": list(PLACE),
        "responses": answers("The session", answer) | problem_answers(problems),
    }


def _export() -> Document:
    operation = _operation("export", "Gives a snapshot", "SessionAnswer", CHANGING_PROBLEMS)
    snapshot = {"200": {"description": "A snapshot; the session goes on", "content": SNAPSHOT}}
    return operation | {"responses": operation["responses"] | snapshot}


def _fork() -> Document:
    request = {"schema": reference("ForkRequest")}
    body: dict[str, Any] = {
        "required": True,
        "content": {Media.JSON: request | {"example": FORK_EXAMPLE}, Media.MSGPACK: request},
    }
    summary = "Makes a second session of the same state"
    return _operation("fork", summary, "SessionAnswer", HANDING_PROBLEMS) | {"requestBody": body}


def _import() -> Document:
    summary = "Goes on from a snapshot, under an id that has no live session"
    return _operation("import", summary, "SessionAnswer", HANDING_PROBLEMS) | {
        "parameters": [PLACE[0], NAME],
        "requestBody": {"required": True, "content": SNAPSHOT},
    }
