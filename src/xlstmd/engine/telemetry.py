"""What the engine counts and times. Names follow Prometheus: base units, one family a fact."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xlstmd.engine.session_telemetry import SessionTelemetry

SECONDS: Final = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0,
)  # fmt: skip
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class EngineTelemetry:
    """The engine's metric families in one registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Makes the families; each engine has a registry of its own unless told otherwise."""
        self.registry = registry or CollectorRegistry()
        self.model_loaded = self._gauge("model_loaded", "1 for each loaded model.", "version")
        self.queue_depth = self._gauge("queue_depth", "Series of unfinished tasks.")
        self.queue_bytes = self._gauge(
            "queue_bytes", "Bytes of the histories and answers of unfinished tasks."
        )
        self.lane_up = self._gauge("lane_up", "1 while the lane's worker lives and gives signs.")
        self.heartbeat_age = self._gauge(
            "lane_heartbeat_age_seconds", "Time since the last sign of the lane's worker."
        )
        self.canary_age = self._gauge(
            "canary_age_seconds", "Time since the model last computed something well."
        )
        self.queue_seconds = self._histogram(
            "queue_seconds", "From admission to the first computation, of each task.", SECONDS
        )
        self.compute_seconds = self._histogram(
            "compute_seconds", "Time of each model call.", SECONDS
        )
        self.batch_rows = self._histogram("batch_rows", "Rows of each model call.", ROWS)
        self.rejections = self._counter(
            "rejections_total", "Tasks refused at the door, by reason.", "reason"
        )
        self.deadline_missed = self._counter(
            "deadline_missed_total", "Tasks that missed their deadline, by stage.", "stage"
        )
        self.cancelled = self._counter("cancelled_total", "Tasks whose caller went away.")
        self.nonfinite = self._counter(
            "nonfinite_total", "Rows whose forecast had non-finite numbers, by place.", "where"
        )
        self.lane_restarts = self._counter("lane_restarts_total", "Workers that were replaced.")
        self.poison_isolated = self._counter(
            "poison_isolated_total", "Rows on which the model raised, found by halving a batch."
        )
        self.suspects = self._gauge(
            "suspect_sessions", "Sessions that broke the model, whose steps share no batch now."
        )
        self.policy_actions = self._counter("policy_actions_total", "Actions, by status.", "status")
        self.sessions = SessionTelemetry(self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"xlstmd_{name}", text, ("model", *labels), registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"xlstmd_{name}", text, ("model", *labels), registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(
            f"xlstmd_{name}", text, ("model",), buckets=buckets, registry=self.registry
        )


class LaneTelemetry:
    """The families with one model's label filled in, so that no call looks labels up."""

    def __init__(self, telemetry: EngineTelemetry, model: str, version: str) -> None:
        """Binds the label."""
        self._telemetry = telemetry
        self._model = model
        self.queue_seconds = telemetry.queue_seconds.labels(model)
        self.compute_seconds = telemetry.compute_seconds.labels(model)
        self.batch_rows = telemetry.batch_rows.labels(model)
        self.cancelled = telemetry.cancelled.labels(model)
        self.poison_isolated = telemetry.poison_isolated.labels(model)
        self.restarts = telemetry.lane_restarts.labels(model)
        self.nonfinite_output = telemetry.nonfinite.labels(model, "output")
        telemetry.model_loaded.labels(model, version).set(1)

    def rejected(self, reason: str) -> None:
        """Counts a task refused at the door."""
        self._telemetry.rejections.labels(self._model, reason).inc()

    def missed(self, stage: str) -> None:
        """Counts a missed deadline."""
        self._telemetry.deadline_missed.labels(self._model, stage).inc()

    def acted(self, status: str) -> None:
        """Counts an action of a policy."""
        self._telemetry.policy_actions.labels(self._model, status).inc()

    def watch_suspects(self, count: Callable[[], float]) -> None:
        """Reads the number of suspects from a function whenever somebody asks."""
        self._telemetry.suspects.labels(self._model).set_function(count)

    def watch(
        self,
        *,
        depth: Callable[[], float],
        nbytes: Callable[[], float],
        up: Callable[[], float],
        heartbeat_age_s: Callable[[], float],
        canary_age_s: Callable[[], float],
    ) -> None:
        """Reads the gauges from these functions whenever somebody asks."""
        telemetry, model = self._telemetry, self._model
        telemetry.queue_depth.labels(model).set_function(depth)
        telemetry.queue_bytes.labels(model).set_function(nbytes)
        telemetry.lane_up.labels(model).set_function(up)
        telemetry.heartbeat_age.labels(model).set_function(heartbeat_age_s)
        telemetry.canary_age.labels(model).set_function(canary_age_s)
