"""Sessions without an engine: the rules of the protocol over a dictionary."""

import asyncio
import dataclasses
from dataclasses import dataclass, field

import numpy as np

from tests.fakes import echo_forecast
from xlstmd.engine.engine import Engine
from xlstmd.engine.session_record import SessionRecord
from xlstmd.engine.session_tasks import AppendResult, SessionInfo
from xlstmd.engine.snapshot import decode_snapshot, encode_snapshot
from xlstmd.errors import (
    ModelConflict,
    SeqConflict,
    SeqReused,
    SessionConflict,
    SessionExpired,
    SessionUnknown,
)
from xlstmd.models.anomaly_scores import AnomalyScores

PATCH = 2
BIG = 100.0
CREATED_NS = 1_767_225_600_123_456_000


@dataclass
class FakeSession:
    """One stream: all its points."""

    model: str
    durable: bool
    facts: dict
    seq: int = 0
    values: list = field(default_factory=list)
    request_hash: bytes = b""
    reply: AppendResult | None = None


class FakeSessions:
    """Echoes the last point; points above `BIG` are flagged, the first ones are not scored."""

    def __init__(self, model="small@1"):
        self.model = model
        self.live = {}
        self.ended = {}
        self.tasks = []
        self.error = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, task):
        """Takes a step."""
        self.tasks.append(task)
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        session = self._session_for(task)
        if task.seq is not None and task.seq == session.seq:
            if task.request_hash != session.request_hash:
                raise SeqReused("seq: another request had this number")
            return session.reply
        if task.seq is not None and task.seq != session.seq + 1:
            raise SeqConflict(task.seq, session.seq + 1, self._durable(session))
        result = self._step(session, task)
        if task.seq is not None:
            session.request_hash, session.reply = task.request_hash, result
        return result

    async def info(self, key):
        """Describes."""
        session = self._find(key)
        return SessionInfo(
            key=key,
            seq=session.seq,
            durable_seq=self._durable(session),
            nbytes=8 * len(session.values),
            model=session.model,
            created_ns=CREATED_NS,
            used_ns=CREATED_NS,
            tier="hot",
        )

    async def end(self, key):
        """Ends."""
        self._find(key)
        del self.live[key]
        self.ended[key] = "ended"

    async def export(self, key):
        """Gives a snapshot."""
        session = self._find(key)
        return encode_snapshot(
            SessionRecord(
                key=key,
                model=session.model,
                fingerprint="00",
                seq=session.seq,
                created_ns=CREATED_NS,
                used_ns=CREATED_NS,
                request_hash=session.request_hash,
                reply=b"",
                layout="float64",
                payload=np.array(session.values).tobytes(),
                facts=session.facts,
            )
        )

    async def take_over(self, key, snapshot):
        """Goes on from a snapshot."""
        record = decode_snapshot(snapshot)
        if key in self.live:
            raise SessionConflict("there is a live session")
        self.live[key] = FakeSession(
            record.model,
            False,
            dict(record.facts),
            record.seq,
            np.frombuffer(record.payload).tolist(),
            record.request_hash,
        )
        return await self.info(key)

    async def fork(self, key, target):
        """Makes a second session."""
        session, other = self._find(key), key._replace(id=target)
        if other in self.live:
            raise SessionConflict("there is a live session")
        self.live[other] = dataclasses.replace(session, values=list(session.values))
        return await self.info(other)

    def _session_for(self, task):
        if task.reset or (task.seq == 1 and task.key not in self.live | self.ended):
            model = task.model or self.model
            self.live[task.key] = FakeSession(model, task.durable, dict(task.facts))
            self.ended.pop(task.key, None)
        session = self._find(task.key)
        if task.model not in (None, session.model, session.model.partition("@")[0]):
            raise ModelConflict(f"model: expected {session.model}, got {task.model}")
        return session

    def _find(self, key):
        if key in self.ended:
            raise SessionExpired("the session has ended", reason=self.ended[key])
        if key not in self.live:
            raise SessionUnknown(f"session: there is none called {key.id}")
        return self.live[key]

    def _durable(self, session):
        return session.seq if session.durable else max(0, session.seq - 1)

    def _step(self, session, task):
        before = len(session.values)
        if task.seq is not None:
            session.seq = task.seq
            session.values += task.values.tolist()
        seen = np.array(session.values)
        forecast = None
        if task.horizon:
            forecast = echo_forecast([seen], task.horizon, task.quantile_levels)
        scores = None
        if task.anomaly_rate is not None:
            new = task.values
            unscored = np.isnan(new) | (before + np.arange(len(new)) < PATCH)
            quantile = np.where(unscored, np.nan, np.where(new > BIG, 0.999, 0.5))
            scores = AnomalyScores(
                quantile=quantile,
                surprise=-np.log(np.minimum(quantile, 1 - quantile)),
                flag=~unscored & (new > BIG),
            )
        first = np.flatnonzero(~np.isnan(seen))
        return AppendResult(
            seq=session.seq,
            durable_seq=self._durable(session),
            observed=len(seen) - int(first[0]) if len(first) else 0,
            forecast=forecast,
            scores=scores,
            model=session.model if "@" in session.model else f"{session.model}@1",
            facts=session.facts,
            queue_ms=0.1,
            compute_ms=0.2,
        )


class FakeSessionsEngine(Engine):
    """An engine with such sessions."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self._fakes = FakeSessions()

    @property
    def sessions(self):
        """The fakes."""
        return self._fakes
