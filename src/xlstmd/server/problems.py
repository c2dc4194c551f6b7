"""Errors on the wire: one table from error class to status and code, and the document."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from xlstmd.engine.engine import RESTART_S, Phase
from xlstmd.errors import (
    BackendUnavailable,
    CheckpointError,
    ConfigError,
    DeadlineExceeded,
    EngineStopped,
    InputError,
    LaneDown,
    LimitError,
    ModelConflict,
    ModelFailed,
    ModelNotFound,
    Overloaded,
    SeqConflict,
    SeqReused,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
    StoreFailed,
    StoreFull,
    XlstmdError,
)

MEDIA_TYPE: Final = "application/problem+json"

INTERNAL: Final = 500
LOADING_RETRY_S: Final = 1.0

# The most specific class of an error decides; `InputError` carries its own code.
TABLE: Final[Mapping[type[XlstmdError], tuple[int, str]]] = {
    InputError: (422, "out_of_range"),
    LimitError: (413, "too_many_items"),
    ModelNotFound: (404, "model_unknown"),
    ModelFailed: (500, "internal"),
    Overloaded: (503, "overloaded"),
    DeadlineExceeded: (504, "deadline_exceeded"),
    LaneDown: (503, "lane_down"),
    EngineStopped: (503, "draining"),
    SessionUnknown: (404, "session_unknown"),
    SessionConflict: (409, "session_exists"),
    SeqConflict: (409, "seq_conflict"),
    SeqReused: (409, "seq_reused"),
    ModelConflict: (409, "model_conflict"),
    SessionExpired: (410, "session_expired"),
    StoreFull: (507, "store_full"),
    StoreFailed: (500, "internal"),
    # These belong to the start; one that comes through a request is a fault of ours.
    ConfigError: (500, "internal"),
    CheckpointError: (500, "internal"),
    BackendUnavailable: (500, "internal"),
}

TITLES: Final = {
    400: "Malformed request",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Request timed out",
    409: "Conflict",
    410: "Gone",
    413: "Request too large",
    415: "Unsupported media type",
    422: "Unprocessable input",
    500: "Internal error",
    503: "Unavailable",
    504: "Deadline exceeded",
    507: "Insufficient storage",
}


class Problem(Exception):
    """A request that HTTP itself makes us refuse; everything else is an `XlstmdError`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        expected: str | int | None = None,
        got: str | None = None,
        durable_seq: int | None = None,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps what the document says.

        Args:
          status: HTTP status.
          code: stable word of the wire contract.
          detail: one sentence for people.
          field: path of the offending value.
          expected: what would have been accepted.
          got: what came.
          durable_seq: of the session, beside a `seq` that is not its next one.
          reason: why a session is gone.
          headers: to be sent along.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.expected = expected
        self.got = got
        self.durable_seq = durable_seq
        self.reason = reason
        self.headers = dict(headers or {})


class ProblemDocument(msgspec.Struct, omit_defaults=True, kw_only=True):
    """RFC 9457, with the code, the parts of the sentence and the request's id.

    `state_advanced` says whether the request has moved a stream in spite of its failure. With
    `seq_conflict` come the `seq` that is `expected` and the `durable_seq`, with `session_expired`
    its `reason`; frames of a WebSocket, which have no headers, have `retry_after_s`.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    state_advanced: bool
    field: str | None = None
    expected: str | int | None = None
    got: str | None = None
    durable_seq: int | None = None
    reason: str | None = None
    retry_after_s: int | None = None


def refused(field: str, expected: str, got: str, *, code: str) -> Problem:
    """Gives the 422 for a field, in the words that `InputError` uses."""
    detail = f"{field}: expected {expected}, got {got}"
    return Problem(422, code, detail, field=field, expected=expected, got=got)


def method_not_allowed(method: str, allowed: str) -> Problem:
    """Gives the 405 of a route."""
    detail = f"method: expected {allowed}, got {method}"
    return Problem(
        405,
        "method_not_allowed",
        detail,
        field="method",
        expected=allowed,
        got=method,
        headers={"allow": allowed},
    )


def not_running(phase: Phase) -> Problem:
    """Gives the 503 of a daemon that is loading or draining."""
    code, retry_after_s = (
        ("loading", LOADING_RETRY_S) if phase is Phase.LOADING else ("draining", RESTART_S)
    )
    headers = {"retry-after": str(math.ceil(retry_after_s))}
    return Problem(503, code, f"the engine is {phase}", headers=headers)


def refuse_unless_running(phase: Phase) -> None:
    """Refuses requests before and after the engine's time.

    Raises:
      Problem: 503 `loading` or `draining`.
    """
    if phase is not Phase.RUNNING:
        raise not_running(phase)


def find_row(kind: type[BaseException]) -> tuple[int, str]:
    """Gives status and code for an error class, by its nearest ancestor in the table."""
    for ancestor in kind.__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    return INTERNAL, "internal"


def to_problem(error: BaseException) -> Problem:
    """Turns any error into what may be told; nothing of an unknown one is."""
    if isinstance(error, Problem):
        return error
    status, code = find_row(type(error))
    if isinstance(error, InputError):
        return Problem(
            status,
            error.code,
            str(error),
            field=error.field,
            expected=error.expected,
            got=error.got,
        )
    if isinstance(error, ModelFailed):
        return Problem(status, code, f"internal error: {error}", field=error.field)
    if isinstance(error, SeqConflict):
        return Problem(
            status,
            code,
            str(error),
            field="seq",
            expected=error.expected,
            durable_seq=error.durable_seq,
        )
    if isinstance(error, SessionExpired):
        return Problem(status, code, str(error), reason=str(error.reason))
    if status == INTERNAL:
        return Problem(status, code, "internal error; the log has it under this request_id")
    headers = {}
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(retry_after_s)))
    return Problem(status, code, str(error), headers=headers)


def document_of(
    problem: Problem, request_id: str, *, state_advanced: bool = False
) -> ProblemDocument:
    """Gives the document of a problem.

    Args:
      problem: what went wrong.
      request_id: of the request.
      state_advanced: the request has moved a stream all the same.
    """
    return ProblemDocument(
        type="about:blank",
        title=TITLES.get(problem.status, "Error"),
        status=problem.status,
        code=problem.code,
        detail=problem.detail,
        field=problem.field,
        expected=problem.expected,
        got=problem.got,
        durable_seq=problem.durable_seq,
        reason=problem.reason,
        request_id=request_id,
        state_advanced=state_advanced,
    )


def encode_problem(problem: Problem, request_id: str, *, state_advanced: bool = False) -> bytes:
    """Writes the document as JSON; arguments as for `document_of`."""
    return msgspec.json.encode(document_of(problem, request_id, state_advanced=state_advanced))
