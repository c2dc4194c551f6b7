"""One request and its answer, as the access log and the metrics see them."""

import re
import time
import uuid
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
SCOPE_KEY: Final = "xlstmd.exchange"
OTHER: Final = "other"
OK: Final = "ok"
MS_PER_S: Final = 1000.0

# Of the id of a whole request, in that of a part of it.
ID_ROOM: Final = 100


@dataclass(slots=True, kw_only=True)
class Exchange:
    """What is known about a request so far.

    Args:
      request_id: the client's, or a fresh one.
      method: as sent.
      path: as sent.
      client: its address.
      trace_id: of a valid `traceparent`.
      endpoint: path of the route that took it; `other` while none has.
      started: monotonic seconds.
      status: of the answer, 0 before it.
      outcome: `ok` or the code of the problem.
      model: identity of the model that is asked.
      series: how many were sent.
      queue_ms: see `ForecastResult`.
      compute_ms: see `ForecastResult`.
      state_advanced: the request has moved a stream, whatever becomes of its answer.
    """

    request_id: str
    method: str
    path: str
    client: str = ""
    trace_id: str = ""
    endpoint: str = OTHER
    started: float = field(default_factory=time.monotonic)
    status: int = 0
    outcome: str = OK
    model: str = ""
    series: int = 0
    queue_ms: float | None = None
    compute_ms: float | None = None
    state_advanced: bool = False

    @classmethod
    def begin(cls, scope: MutableMapping[str, Any], headers: Mapping[bytes, bytes]) -> "Exchange":
        """Starts an exchange and keeps it in the scope."""
        client = scope.get("client")
        exchange = cls(
            request_id=_request_id(headers),
            method=scope["method"],
            path=scope["path"],
            client=client[0] if client else "",
            trace_id=_trace_id(headers),
        )
        scope[SCOPE_KEY] = exchange
        return exchange

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "Exchange":
        """Gives the exchange of a scope."""
        exchange: Exchange = scope[SCOPE_KEY]
        return exchange

    def part(self, number: int) -> "Exchange":
        """Gives the exchange of one of several messages of a request or connection.

        Args:
          number: from 1 on.
        """
        return Exchange(
            request_id=f"{self.request_id[:ID_ROOM]}.{number}",
            method=self.method,
            path=self.path,
            client=self.client,
            trace_id=self.trace_id,
            endpoint=self.endpoint,
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request came."""
        return time.monotonic() - self.started

    def log_fields(self) -> dict[str, Any]:
        """Gives the fields of the access line; those without a value are left out."""
        fields = {
            "request_id": self.request_id,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "outcome": self.outcome,
            "total_ms": round(MS_PER_S * self.elapsed_s, 3),
            "queue_ms": None if self.queue_ms is None else round(self.queue_ms, 3),
            "compute_ms": None if self.compute_ms is None else round(self.compute_ms, 3),
            "model": self.model,
            "series": self.series,
            "client": self.client,
            "trace_id": self.trace_id,
        }
        return {name: value for name, value in fields.items() if value not in (None, "", 0)}


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if ID_PATTERN.fullmatch(given) else uuid.uuid4().hex


def _trace_id(headers: Mapping[bytes, bytes]) -> str:
    parent = headers.get(b"traceparent", b"").decode("latin-1")
    match = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", parent)
    return match[1] if match else ""
