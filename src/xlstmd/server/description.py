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
SURFACES: Final = ("forecast",)
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
)


def installed_version() -> str:
    """Gives the version of the installed package."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "0+not.installed"


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
            limits={name: getattr(settings, name) for name in LIMITS},
            models=engine.describe_models(),
            **_frame(request),
        )
        return json_answer(answer)

    @get("/api/v1/xlstm/models", sync_to_thread=False)
    def models(request: AnyRequest) -> Response[bytes]:
        """Lists the loaded models."""
        return json_answer(ModelsAnswer(models=engine.describe_models(), **_frame(request)))

    def _frame(request: AnyRequest) -> dict[str, Any]:
        exchange = Exchange.of(request.scope)
        return {
            "model": engine.default_model,
            "timing": timing_of(exchange),
            "request_id": exchange.request_id,
        }

    return [info, models]
