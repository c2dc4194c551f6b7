"""What the daemon counts and times about requests and about itself."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from xlstmd.engine.telemetry import SECONDS
from xlstmd.server.exchange import Exchange

LAG_EVERY_S: Final = 0.5


class ServerTelemetry:
    """The daemon's metric families, in the engine's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Makes the families."""
        self.registry = registry
        self.requests = Counter(
            "xlstmd_requests_total",
            "Answered requests; outcome is ok or the code of the problem.",
            ("endpoint", "model", "version", "outcome"),
            registry=registry,
        )
        self.request_seconds = Histogram(
            "xlstmd_request_seconds",
            "From the head of a request to the end of its answer.",
            ("endpoint",),
            buckets=SECONDS,
            registry=registry,
        )
        self.loop_lag = Histogram(
            "xlstmd_event_loop_lag_seconds",
            "How much later than due the event loop came round.",
            buckets=SECONDS,
            registry=registry,
        )
        self.gc_pause = Histogram(
            "xlstmd_gc_pause_seconds",
            "Pauses of Python's garbage collector, by generation.",
            ("generation",),
            buckets=SECONDS,
            registry=registry,
        )
        ProcessCollector(registry=registry)
        self._gc_started = 0.0

    def finish(self, exchange: Exchange) -> None:
        """Counts an exchange."""
        name, _, version = exchange.model.partition("@")
        self.requests.labels(exchange.endpoint, name, version, exchange.outcome).inc()
        self.request_seconds.labels(exchange.endpoint).observe(exchange.elapsed_s)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measures the running event loop and the collector while the context lasts."""
        lag = asyncio.get_running_loop().create_task(self._watch_loop(), name="loop lag")
        gc.callbacks.append(self._on_gc)
        try:
            yield
        finally:
            gc.callbacks.remove(self._on_gc)
            lag.cancel()

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.loop_lag.observe(max(0.0, loop.time() - due))

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._gc_started = time.monotonic()
        else:
            pause = time.monotonic() - self._gc_started
            self.gc_pause.labels(str(info["generation"])).observe(pause)
