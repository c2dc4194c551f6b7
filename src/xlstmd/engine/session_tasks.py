"""What can be asked of a session, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.policy_tasks import PolicyResult, PolicyTask
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.state_arena import StateArena
from xlstmd.models.anomaly_scores import AnomalyScores
from xlstmd.models.quantile_forecast import QuantileForecast
from xlstmd.models.stream_step import StreamAnswer, StreamStep

FloatArray = NDArray[np.float64]

# The surface of sessions that are streams of a forecaster.
FORECAST: Final = "forecast"


class StreamHost(Protocol):
    """Moves the streams of one arena forward; all calls come from one thread."""

    @property
    def arena(self) -> StateArena:
        """The states."""

    def run(self, steps: Sequence[StreamStep]) -> list[StreamAnswer]:
        """Takes a step with each of some slots, all different; rows fail by themselves."""


class StreamModel(Protocol):
    """What the engine needs of a forecaster that can be fed point by point."""

    @property
    def identity(self) -> str:
        """Name and version."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, architecture, layout and precision: a state continues only under it."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of one stream's slot."""

    def streams(self, slots: int) -> StreamHost:
        """Allocates all slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendTask:
    """Points for one stream, and what is asked after them.

    Args:
      key: of the session.
      seq: 1 or more; None only asks, and advances nothing (`values` is empty then).
      values: points to take in, NaN = missing, none infinite.
      horizon: points to forecast after them; 0 for no forecast.
      quantile_levels: of the forecast.
      anomaly_rate: of flags; None for no scores.
      model: name or identity; None is the default one, or that of the session.
      reset: a new stream begins under this key, with `seq` 1.
      durable: at creation: each step is on disk before it is answered.
      facts: at creation: what the caller wants to get back with each answer.
      request_hash: of the whole request, to know it again.
      deadline_s: how long the answer may take from now on; None is without end.
    """

    key: SessionKey
    seq: int | None
    values: FloatArray
    horizon: int = 0
    quantile_levels: tuple[float, ...] = ()
    anomaly_rate: float | None = None
    model: str | None = None
    reset: bool = False
    durable: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    request_hash: bytes = b""
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResult:
    """The answer to an `AppendTask`; the same task again gives the same one.

    Args:
      seq: of the last request that advanced the stream, this one if it had a `seq`.
      durable_seq: of what survives the end of the process now; 0 for nothing.
      observed: points since the first observed one.
      forecast: one row; None where none was asked for.
      scores: of the values; None where none were asked for.
      model: identity.
      facts: as at creation.
      queue_ms: waiting.
      compute_ms: in the model.
    """

    seq: int
    durable_seq: int
    observed: int
    forecast: QuantileForecast | None
    scores: AnomalyScores | None
    model: str
    facts: Mapping[str, str]
    queue_ms: float
    compute_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """What is shown of a session.

    Args:
      key: of it.
      seq: of the last request that advanced it.
      durable_seq: of what survives the end of the process now; 0 for nothing.
      nbytes: of its slot, or of its snapshot.
      model: identity.
      created_ns: wall time.
      used_ns: wall time.
      tier: `hot` in memory, `stored` on disk alone.
    """

    key: SessionKey
    seq: int
    durable_seq: int
    nbytes: int
    model: str
    created_ns: int
    used_ns: int
    tier: str


class Sessions(Protocol):
    """The sessions of an engine, as a server reaches them: `Engine.sessions`.

    Every method may raise `EngineStopped`, `Overloaded`, `LaneDown`, `StoreFailed`, `StoreFull`,
    `SessionExpired` and `SessionUnknown`.
    """

    async def append(self, task: AppendTask) -> AppendResult:
        """Takes a step.

        Raises:
          SeqConflict: `seq` is not the next one.
          SeqReused: `seq` is the last one with another request.
          ModelConflict: the session runs another model.
          ModelNotFound: no model of that name.
          DeadlineExceeded: nothing was advanced then.
          InputError: the values or the forecast cannot be; nothing was advanced.
          ModelFailed: likewise.
        """

    async def step(self, task: PolicyTask) -> PolicyResult:
        """Takes a step of an episode: in time, or not at all.

        Raises:
          SeqConflict: `seq` is not the next one.
          SeqReused: `seq` is that of the last task with another request.
          ModelConflict: the session runs another model.
          ModelNotFound: no policy of that name.
          DeadlineExceeded: where that is an error; nothing was advanced then.
          InputError: the observations cannot be; nothing was advanced.
          ModelFailed: where a late step is an error; nothing was advanced.
        """

    async def info(self, key: SessionKey) -> SessionInfo:
        """Describes a session."""

    async def end(self, key: SessionKey) -> None:
        """Ends a session; a tombstone stays."""

    async def export(self, key: SessionKey) -> bytes:
        """Gives a snapshot; the session goes on."""

    async def take_over(self, key: SessionKey, snapshot: bytes) -> SessionInfo:
        """Goes on from a snapshot, under a key that has no live session.

        Raises:
          SessionConflict: there is a live session.
          SnapshotDamaged: it is no whole snapshot.
        """

    async def fork(self, key: SessionKey, target: str) -> SessionInfo:
        """Makes a second session of the same state, under another id of the same tenant.

        Raises:
          SessionConflict: there is a live session of that id.
        """
