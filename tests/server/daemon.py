"""Daemons for tests: in process without a socket, and with one in a thread."""

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager

import httpx

from tests.fakes import EchoModel
from xlstmd.engine.engine import Engine
from xlstmd.engine.lane import ThreadLane
from xlstmd.server.app import create_app
from xlstmd.server.serve import Server, open_socket
from xlstmd.server.settings import Settings

FORECAST = "/api/v1/xlstm/forecast"
START_S = 10.0


def make_engine(settings, *models, kind=Engine):
    """Makes an engine for some models; without any, for one that echoes."""
    models = models or (EchoModel("small"),)
    return kind([ThreadLane(model) for model in models], settings.engine_settings())


@asynccontextmanager
async def lifespan(app):
    """Starts an ASGI application and stops it at the end."""
    inbox, outbox = asyncio.Queue(), asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    started = await outbox.get()
    assert started["type"] == "lifespan.startup.complete", started
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await outbox.get()
        await running


@asynccontextmanager
async def in_process(*models, engine=None, **settings):
    """Gives a client of a daemon that has no socket."""
    settings = Settings(**settings)
    app = create_app(engine or make_engine(settings, *models), settings)
    async with lifespan(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8884"
        ) as client:
            yield client


@contextmanager
def on_socket(*models, kind=Engine, **settings):
    """Gives the port of a daemon that listens, and its server."""
    settings = Settings(port=0, **settings)
    with open_socket(settings.host, settings.port) as listening:
        port = listening.getsockname()[1]
        server = Server(make_engine(settings, *models, kind=kind), settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            wait_until_ready(port)
            yield port, server
        finally:
            server.should_exit = True
            thread.join(START_S)
            assert not thread.is_alive()


def wait_until_ready(port):
    """Waits until a daemon is ready."""
    transport = httpx.HTTPTransport(retries=20)
    with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(200):
            if client.get("/readyz").status_code == 200:
                return
            threading.Event().wait(0.05)
    raise AssertionError("the daemon did not become ready")


def run(work):
    """Runs a coroutine to its end."""
    return asyncio.run(asyncio.wait_for(work, 60.0))
