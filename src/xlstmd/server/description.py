"""What the daemon says about itself: info and models."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from xlstmd.engine.engine import Engine
from xlstmd.server.answer import json_answer, timing_of
from xlstmd.server.exchange import Exchange
from xlstmd.server.media import Media
from xlstmd.server.settings import Settings
from xlstmd.server.wire import InfoAnswer, ModelsAnswer

AnyRequest = Request[Any, Any, Any]

NAME: Final = "xlstmd"
SURFACES: Final = ("forecast", "policy")

# What a model that can be fed point by point says about itself.
STATE_BYTES: Final = "state_bytes"
LIMITS: Final = (
    "max_body_bytes",
    "max_series",
    "max_points",
    "max_horizon",
    "max_quantile_levels",
    "max_answer_numbers",
    "max_connections",
    "body_timeout_s",
    "max_deadline_s",
    "max_queue_rows",
    "max_queue_bytes",
    "session_bytes",
    "session_idle_s",
    "snapshot_interval_s",
)


def installed_version() -> str:
    """Gives the version of the installed package."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "0+not.installed"


def limits_of(settings: Settings) -> dict[str, float]:
    """Gives the bounds that clients may want to know."""
    return {name: getattr(settings, name) for name in LIMITS}


def describe_models(engine: Engine, settings: Settings) -> list[dict[str, Any]]:
    """Gives what every model says about itself, and how many sessions of it are in memory."""
    models, bounds = engine.describe_models(), settings.engine_settings()
    for model in models:
        slot_bytes = model.get(STATE_BYTES)
        if slot_bytes is not None:
            model |= {
                "slot_bytes": slot_bytes,
                "slots": bounds.session_slots(slot_bytes),
            }
    return models


def description_routes(engine: Engine, settings: Settings) -> list[HTTPRouteHandler]:
    """Gives the routes of info and models."""

    @get("/api/v1/xlstm/info", sync_to_thread=False)
    def info(request: AnyRequest) -> Response[bytes]:
        """Says what this daemon is, what it can do and what it allows."""
        answer = InfoAnswer(
            name=NAME,
            version=installed_version(),
            surfaces=list(SURFACES),
            formats=list(Media),
            limits=limits_of(settings),
            models=describe_models(engine, settings),
            **_frame(request),
        )
        return json_answer(answer)

    @get("/api/v1/xlstm/models", sync_to_thread=False)
    def models(request: AnyRequest) -> Response[bytes]:
        """Lists the loaded models."""
        described = describe_models(engine, settings)
        return json_answer(ModelsAnswer(models=described, **_frame(request)))

    def _frame(request: AnyRequest) -> dict[str, Any]:
        exchange = Exchange.of(request.scope)
        return {
            "model": engine.default_model,
            "timing": timing_of(exchange),
            "request_id": exchange.request_id,
        }

    return [info, models]
