"""The sessions in memory."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from xlstmd.engine.session_payload import LAYOUT
from xlstmd.engine.session_record import SessionKey, SessionRecord
from xlstmd.engine.session_reply import Reply

# A session that was only asked is written this long after: for its idle time alone.
USE_SAVE_S: Final = 60.0

DURABLE: Final = "durable"
EVERY_STEP: Final = "every_step"


@dataclass(eq=False, slots=True, kw_only=True)
class Session:
    """A session whose stream lies in a slot. Changed by whoever has its turn.

    Attributes:
      key: of it.
      model: identity.
      slot: of its stream.
      seq: of the last request that advanced it.
      request_hash: of that request.
      reply: to that request.
      created_ns: wall time; see `SessionRecord`.
      used_ns: wall time of the last request.
      used_at: the same by the engine's clock.
      facts: of the caller.
      is_durable: each step is on disk before it is answered.
      durable_seq: of what the store holds.
      writing_seq: of what the store was given; as `durable_seq` where that failed.
      saved_at: when what the store holds was taken.
      changed_at: when what the store does not hold began, at the latest.
      is_leaving: another stream is about to take its place in the store.
    """

    key: SessionKey
    model: str
    slot: int
    seq: int
    request_hash: bytes
    reply: Reply
    created_ns: int
    used_ns: int
    used_at: float
    facts: Mapping[str, str]
    is_durable: bool
    durable_seq: int = 0
    writing_seq: int = 0
    saved_at: float
    changed_at: float
    is_leaving: bool = False

    @property
    def is_stored(self) -> bool:
        """Whether the store holds something of it, or is about to."""
        return self.durable_seq > 0 or self.writing_seq > 0

    def is_due(self, now: float) -> bool:
        """Says whether the store should be given it: it changed, or was used for a while."""
        return self.seq > self.writing_seq or (
            self.used_at > self.saved_at and now - self.saved_at > USE_SAVE_S
        )

    def note_saved(self, seq: int, taken_at: float) -> None:
        """Notes that the store holds it as of a request."""
        self.durable_seq = max(self.durable_seq, seq)
        self.saved_at = max(self.saved_at, taken_at)
        # What came since then began after the snapshot was taken.
        self.changed_at = max(self.changed_at, taken_at)

    def record(self, now: float, fingerprint: str) -> SessionRecord:
        """Gives all of it but the payload."""
        facts = dict(self.facts)
        if self.is_durable:
            facts[DURABLE] = EVERY_STEP
        return SessionRecord(
            key=self.key,
            model=self.model,
            fingerprint=fingerprint,
            seq=self.seq,
            created_ns=self.created_ns,
            used_ns=self.used_ns,
            idle_s=max(0.0, now - self.used_at),
            request_hash=self.request_hash,
            reply=self.reply.pack(),
            layout=LAYOUT,
            payload=b"",
            facts=facts,
        )


class SessionTable:
    """Sessions by key, and those of each model by their last use."""

    def __init__(self) -> None:
        """Starts empty."""
        self._sessions: dict[SessionKey, Session] = {}
        self._orders: dict[str, OrderedDict[SessionKey, Session]] = {}

    def __iter__(self) -> Iterator[Session]:
        """Gives every session."""
        return iter(tuple(self._sessions.values()))

    def get(self, key: SessionKey) -> Session | None:
        """Gives a session, if it is here."""
        return self._sessions.get(key)

    def put(self, session: Session) -> None:
        """Takes in a session as used now, in place of another one of its key and model."""
        self._sessions[session.key] = session
        self.touch(session)

    def touch(self, session: Session) -> None:
        """Makes a session the one that was used last."""
        order = self._orders.setdefault(session.model, OrderedDict())
        order[session.key] = session
        order.move_to_end(session.key)

    def remove(self, session: Session) -> None:
        """Forgets a session."""
        del self._sessions[session.key]
        del self._orders[session.model][session.key]

    def of(self, model: str) -> Mapping[SessionKey, Session]:
        """Gives the sessions of a model, the one that was not used for longest first."""
        return self._orders.get(model, {})
