"""What is counted and timed of sessions; see `telemetry`."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

RESTORES: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip

# The store does not count by model.
EVERY_MODEL: Final = "all"


class SessionTelemetry:
    """The metric families of sessions in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Makes the families."""
        self.sessions = Gauge(
            "xlstmd_sessions",
            "Sessions: hot ones in memory by model; stored ones, which may be hot too, of all.",
            ("model", "tier"),
            registry=registry,
        )
        self.session_bytes = Gauge(
            "xlstmd_session_bytes",
            "Bytes of the slots that hot sessions take, and of the snapshots of stored ones.",
            ("model", "tier"),
            registry=registry,
        )
        self.requests = Gauge(
            "xlstmd_session_requests",
            "Requests of sessions that are not answered, wherever they wait.",
            registry=registry,
        )
        self.evictions = Counter(
            "xlstmd_session_evictions_total",
            "Sessions that left memory or ended without being asked to, by reason.",
            ("model", "reason"),
            registry=registry,
        )
        self.restore_seconds = Histogram(
            "xlstmd_session_restore_seconds",
            "Reading a session from the store into a slot, without waiting for its turn.",
            ("model",),
            buckets=RESTORES,
            registry=registry,
        )
        self.snapshot_age = Gauge(
            "xlstmd_snapshot_age_seconds",
            "Age of the oldest change of a session that the store does not hold.",
            registry=registry,
        )
        self.snapshot_errors = Counter(
            "xlstmd_snapshot_errors_total",
            "Groups of changes that the store did not take.",
            registry=registry,
        )

    def watch(
        self, *, model: str, tier: str, count: Callable[[], float], nbytes: Callable[[], float]
    ) -> None:
        """Reads the gauges of a model and tier from these functions whenever somebody asks."""
        self.sessions.labels(model, tier).set_function(count)
        self.session_bytes.labels(model, tier).set_function(nbytes)
