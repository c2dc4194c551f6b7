"""Puts the daemon's HTTP side together: routes, errors, start and stop of the engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn

from litestar import Litestar, Request, asgi
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler

from xlstmd.engine.engine import Engine
from xlstmd.server.append import APPEND_PATH, AppendRoute
from xlstmd.server.appender import Appender
from xlstmd.server.body import BodyRoom
from xlstmd.server.description import description_routes
from xlstmd.server.exchange import Exchange
from xlstmd.server.fleet_stepper import FleetStepper
from xlstmd.server.forecast import FORECAST_PATH, ForecastRoute
from xlstmd.server.gate import ASGIApp, Gate
from xlstmd.server.openpi import OPENPI_PATH, OpenpiRoute
from xlstmd.server.pages import page_routes
from xlstmd.server.policies import policy_routes
from xlstmd.server.policy_step import STEP_PATH, PolicyStepRoute
from xlstmd.server.policy_stepper import PolicyStepper
from xlstmd.server.policy_steps import STEPS_PATH, PolicyStepsRoute
from xlstmd.server.probes import probe_routes
from xlstmd.server.problems import Problem, method_not_allowed
from xlstmd.server.security import HostCheck
from xlstmd.server.sessions import SESSIONS_PATH, SessionsRoute
from xlstmd.server.settings import Settings
from xlstmd.server.stream import StreamRoute
from xlstmd.server.telemetry import ServerTelemetry

OnStart = Callable[[Exception | None], None]

# What the framework itself refuses; 404 is what is left.
CODES: Final = {400: "malformed", 413: "body_too_large", 415: "unsupported_media"}


def create_app(
    engine: Engine,
    settings: Settings,
    *,
    on_start: OnStart | None = None,
) -> Gate:
    """Makes the ASGI application; it starts the engine and drains it at the end.

    Args:
      engine: not started yet.
      settings: of the daemon.
      on_start: told that the engine has started, or what kept it from starting. With it the
        engine starts in the background, so that the probes answer meanwhile; without it the
        application has started once the engine has, and fails with it.
    """
    telemetry = ServerTelemetry(engine.telemetry.registry)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        with telemetry.watching():
            async with _running(engine, settings, on_start):
                yield

    sessions = engine.sessions
    room = BodyRoom(settings.max_pending_body_bytes)
    appender = Appender(engine, sessions, settings)
    stepper = PolicyStepper(engine, sessions, settings)
    app = Litestar(
        [
            *_hot_routes(engine, settings, room, appender, stepper),
            *probe_routes(engine),
            *description_routes(engine, settings),
            *policy_routes(engine),
            *page_routes(),
        ],
        openapi_config=None,
        logging_config=None,
        lifespan=[lifespan],
        before_request=_note_endpoint,
        exception_handlers={HTTPException: _refuse, Exception: _pass_on},
    )
    streams: dict[str, ASGIApp] = {
        appender.stream_path: StreamRoute(engine, appender, settings, room, telemetry),
        stepper.stream_path: StreamRoute(engine, stepper, settings, room, telemetry),
        OPENPI_PATH: OpenpiRoute(engine, sessions, telemetry),
    }
    hosts = HostCheck(settings.host, settings.allowed_hosts)
    return Gate(app, hosts, telemetry, streams)


def _hot_routes(
    engine: Engine,
    settings: Settings,
    room: BodyRoom,
    appender: Appender,
    stepper: PolicyStepper,
) -> list[ASGIRouteHandler]:
    """Gives the bare ASGI routes: those of requests that come often, or are large."""
    fleet = FleetStepper(stepper, settings, engine.default_model)
    routes: dict[str, ASGIApp] = {
        FORECAST_PATH: ForecastRoute(engine, settings, room).__call__,
        APPEND_PATH: AppendRoute(appender, settings, room).__call__,
        STEP_PATH: PolicyStepRoute(stepper, settings, room).__call__,
        STEPS_PATH: PolicyStepsRoute(fleet, settings, room).__call__,
    }
    about_sessions = SessionsRoute(engine, engine.sessions, settings, room).__call__
    return [
        *(asgi(path, copy_scope=False)(route) for path, route in routes.items()),
        asgi(SESSIONS_PATH, is_mount=True, copy_scope=True)(about_sessions),
    ]


@asynccontextmanager
async def _running(
    engine: Engine, settings: Settings, on_start: OnStart | None
) -> AsyncIterator[None]:
    start = asyncio.create_task(_start(engine, on_start), name="engine start")
    try:
        if on_start is None:
            await start
        yield
    finally:
        start.cancel()
    # Not after a cancellation: whoever ends the process at once will not wait.
    await engine.drain(settings.drain_timeout_s)


async def _start(engine: Engine, on_start: OnStart | None) -> None:
    failure = None
    try:
        await engine.start()
    except Exception as error:
        if on_start is None:
            raise
        failure = error
    if on_start is not None:
        on_start(failure)


def _note_endpoint(request: Request[Any, Any, Any]) -> None:
    Exchange.of(request.scope).endpoint = request.scope["path_template"]


def _refuse(request: Request[Any, Any, Any], error: HTTPException) -> NoReturn:
    """Turns the framework's refusals into ours; the gate answers."""
    method, path = Exchange.of(request.scope).method, request.scope["path"]
    if isinstance(error, MethodNotAllowedException):
        raise method_not_allowed(method, _allowed(error))
    if error.status_code >= 500:
        raise error
    code = CODES.get(error.status_code, "not_found")
    status = error.status_code if error.status_code in CODES else 404
    detail = f"no route {path[:100]}" if code == "not_found" else "the request cannot be read"
    raise Problem(status, code, detail)


def _pass_on(_: Request[Any, Any, Any], error: Exception) -> NoReturn:
    raise error


def _allowed(error: MethodNotAllowedException) -> str:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    methods = [name.strip() for name in headers.get("allow", "GET").split(",")]
    return ", ".join(sorted(set(methods) - {"OPTIONS"} | {"HEAD"}))
