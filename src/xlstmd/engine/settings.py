"""How an engine is run: bounds of its queues and batches, and its clocks' limits."""

from dataclasses import dataclass

from xlstmd.errors import ConfigError


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
      lane_timeout_s: a lane whose heartbeat is older is down.
      canary_interval_s: an idle model runs a small forecast this often, to know that it can;
        a model that had no success for three intervals is not ready.
    """

    default_model: str | None = None
    max_queue_rows: int = 20_000
    max_queue_bytes: int = 256_000_000
    max_batch_rows: int = 64
    max_batch_points: int = 65_536
    lane_timeout_s: float = 60.0
    canary_interval_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuses bounds that would let nothing through."""
        for name in ("max_queue_rows", "max_queue_bytes", "max_batch_rows", "max_batch_points"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        for name in ("lane_timeout_s", "canary_interval_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: expected more than 0, got {getattr(self, name)}")
