"""How an engine is run: bounds of its queues, batches and sessions, and its clocks' limits."""

from dataclasses import dataclass
from typing import Final

from xlstmd.errors import ConfigError

_COUNTS: Final = (
    "max_queue_rows",
    "max_queue_bytes",
    "max_batch_rows",
    "max_batch_points",
    "session_bytes",
    "max_restores",
)
_SECONDS: Final = ("lane_timeout_s", "canary_interval_s", "session_idle_s", "snapshot_interval_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Bounds of one engine; every lane has its own queue.

    Args:
      default_model: name of the model for tasks that name none; `None` is the first one.
      max_queue_rows: series of unfinished tasks.
      max_queue_bytes: their histories and answers.
      max_batch_rows: rows in one model call.
      max_batch_points: rows times the longest row, its horizon included, in one model call;
        bounds how long a large task can keep others waiting. A longer row goes alone.
      lane_timeout_s: a lane whose heartbeat is older is down; must be longer than any model call.
      canary_interval_s: an idle model runs a small forecast this often, to know that it can;
        a model that had no success for three intervals is not ready.
      session_bytes: of the slots in which each model's sessions lie; those that were not used for
        longest lie in the store alone when there are more. A few slots to compute in come on top.
      session_idle_s: a session without a request for so long, of time in which the engine ran,
        is ended.
      snapshot_interval_s: sessions that changed are written to the store this often.
      max_restores: sessions that are being read from the store at the same time.
    """

    default_model: str | None = None
    max_queue_rows: int = 20_000
    max_queue_bytes: int = 256_000_000
    max_batch_rows: int = 64
    max_batch_points: int = 65_536
    lane_timeout_s: float = 20.0
    canary_interval_s: float = 10.0
    session_bytes: int = 128 * 2**20
    session_idle_s: float = 7 * 24 * 3600.0
    snapshot_interval_s: float = 1.0
    max_restores: int = 16

    def __post_init__(self) -> None:
        """Refuses bounds that would let nothing through."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in _SECONDS:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: expected more than 0, got {getattr(self, name)}")

    def session_slots(self, slot_bytes: int) -> int:
        """Gives how many sessions of a model are in memory at most.

        Args:
          slot_bytes: of one of them. A few slots to compute in come on top.
        """
        return max(1, self.session_bytes // slot_bytes)
