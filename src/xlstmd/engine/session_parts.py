"""What the parts of the session engine share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xlstmd.engine.lane import Clock
from xlstmd.engine.session_arena import SessionArena
from xlstmd.engine.session_table import SessionTable
from xlstmd.engine.session_telemetry import SessionTelemetry
from xlstmd.engine.session_turns import SessionTurns
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.store import Store
from xlstmd.engine.tombstones import Tombstones


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionParts:
    """The state of all sessions, and what it is kept with.

    Args:
      store: None keeps everything in memory.
      arenas: by identity of the model.
      settings: bounds.
      telemetry: metric families.
      clock: monotonic seconds.
      wall_ns: wall time, to be shown.
      tombstones: that the store may not have yet.
      table: of the sessions in memory.
      turns: of requests.
    """

    store: Store | None
    arenas: Mapping[str, SessionArena]
    settings: EngineSettings
    telemetry: SessionTelemetry
    clock: Clock
    wall_ns: Callable[[], int]
    tombstones: Tombstones
    table: SessionTable = field(default_factory=SessionTable)
    turns: SessionTurns = field(default_factory=SessionTurns)
