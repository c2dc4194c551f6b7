"""What is kept of a session when it is not in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class SessionKey(NamedTuple):
    """What names a session; all three parts together do.

    Attributes:
      tenant: whose it is.
      surface: which kind of stream, for example `forecast`.
      id: chosen by the client.
    """

    tenant: str
    surface: str
    id: str


class Ending(StrEnum):
    """Why a session is gone."""

    IDLE = "idle"
    EVICTED = "evicted"
    ENDED = "ended"
    MODEL_CHANGED = "model_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """A session at one moment, complete: with it, a stream goes on as if nothing had happened.

    Args:
      key: whose session.
      model: identity of the model, for example `small@1`.
      fingerprint: hexadecimal hash of weights, architecture, layout and precision; a state
        continues only under the fingerprint it was made with.
      seq: number of the last request that advanced the stream.
      created_ns: wall time at which this stream began, by creation, reset or fork. Also tells the
        generations of one stream from those of another under the same key.
      used_ns: wall time of the last request; shown to people, never compared.
      idle_s: seconds since the last request, of time in which the engine ran; see `Store`.
      request_hash: of the last request, to know it again.
      reply: to the last request, to give it again; may be empty where `payload` gives it.
      layout: what the bytes of `payload` are; `session_payload.LAYOUT` for named arrays.
      payload: state of the model for this session.
      facts: what was chosen when the stream began, for example `durable`, `start`, `freq`.
    """

    key: SessionKey
    model: str
    fingerprint: str
    seq: int
    created_ns: int
    used_ns: int
    idle_s: float = 0.0
    request_hash: bytes
    reply: bytes
    layout: str
    payload: bytes
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of reply and payload: what grows with the model."""
        return len(self.reply) + len(self.payload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A session that is no more.

    Args:
      key: whose it was.
      reason: why it is gone.
    """

    key: SessionKey
    reason: Ending

    @property
    def nbytes(self) -> int:
        """None: a tombstone holds no state."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSummary:
    """What a list shows of a stored session; fields as in `SessionRecord`.

    Args:
      key: whose session.
      model: identity.
      seq: stored last.
      created_ns: wall time.
      used_ns: wall time.
      idle_s: as of now.
      nbytes: of the stored snapshot.
    """

    key: SessionKey
    model: str
    seq: int
    created_ns: int
    used_ns: int
    idle_s: float
    nbytes: int
