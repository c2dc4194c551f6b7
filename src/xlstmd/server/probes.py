"""Probes for supervisors, and the metrics."""

from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from xlstmd.engine.engine import Engine, EngineStatus, Phase
from xlstmd.engine.lane import RESTART_S
from xlstmd.server.answer import json_answer, timing_of
from xlstmd.server.exchange import Exchange
from xlstmd.server.problems import Problem, not_running
from xlstmd.server.wire import HealthAnswer, LaneHealth

AnyRequest = Request[Any, Any, Any]


def probe_routes(engine: Engine) -> list[HTTPRouteHandler]:
    """Gives the routes of the probes and of the metrics."""

    @get("/livez", sync_to_thread=False)
    def livez() -> Response[bytes]:
        """Answers while the event loop turns, also during a drain."""
        return json_answer({"status": "alive"})

    @get("/startupz", sync_to_thread=False)
    def startupz() -> Response[bytes]:
        """Answers once the models have been loaded."""
        if engine.phase is Phase.LOADING:
            raise not_running(engine.phase)
        return json_answer({"status": "started"})

    @get("/readyz", sync_to_thread=False)
    def readyz() -> Response[bytes]:
        """Answers while new tasks are taken and every model can compute."""
        check_ready(engine.status())
        return json_answer({"status": "ready"})

    @get("/api/v1/health", sync_to_thread=False)
    def health(request: AnyRequest) -> Response[bytes]:
        """Says how every model fares, under the rules of `/readyz`."""
        status = engine.status()
        check_ready(status)
        return json_answer(describe_health(status, engine.default_model, request))

    @get("/metrics", sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """Gives all metrics in Prometheus' text format."""
        text = generate_latest(engine.telemetry.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return [livez, startupz, readyz, health, metrics]


def check_ready(status: EngineStatus) -> None:
    """Refuses a request while the daemon is not ready.

    Raises:
      Problem: 503 `loading`, `draining` or `lane_down`.
    """
    if status.phase is not Phase.RUNNING:
        raise not_running(status.phase)
    down = [model.model for model in status.models if not (model.is_up and model.is_fresh)]
    if down:
        detail = f"expected every model to compute, got none from {', '.join(down)}"
        headers = {"retry-after": str(round(RESTART_S))}
        raise Problem(503, "lane_down", detail, headers=headers)


def describe_health(
    status: EngineStatus,
    model: str,
    request: AnyRequest,
) -> HealthAnswer:
    """Gives the answer of a daemon that is well."""
    exchange = Exchange.of(request.scope)
    return HealthAnswer(
        status="ready",
        phase=status.phase,
        models=[
            LaneHealth(
                model=lane.model,
                is_up=lane.is_up,
                is_fresh=lane.is_fresh,
                heartbeat_age_s=round(lane.heartbeat_age_s, 3),
                canary_age_s=round(lane.canary_age_s, 3),
                queued_series=lane.queued_series,
            )
            for lane in status.models
        ],
        model=model,
        timing=timing_of(exchange),
        request_id=exchange.request_id,
    )
