"""Runs the daemon: from an open socket to a drained engine."""

import asyncio
import gc
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from xlstmd.engine.engine import Engine
from xlstmd.engine.lane import Lane, ThreadLane
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import ConfigError
from xlstmd.server.app import create_app
from xlstmd.server.connection import Connection
from xlstmd.server.logs import configure_logs
from xlstmd.server.service_manager import ServiceManager
from xlstmd.server.settings import Settings
from xlstmd.server.stream_connection import StreamConnection

logger = logging.getLogger(__name__)

BACKLOG: Final = 1024
POLL_S: Final = 0.05

# A WebSocket whose client is busy answers no ping: none is given up before it had the time for two
# of the longest steps.
PING_EVERY_S: Final = 20.0
LONGEST_STEPS: Final = 2.0


def run(
    sources: Sequence[ModelSource], settings: Settings, *, state_dir: Path | None = None
) -> None:
    """Serves until the process is told to stop (SIGTERM or SIGINT); a second time ends it at once.

    Args:
      sources: of the models; each is loaded where it will run.
      settings: of the daemon.
      state_dir: where sessions outlive the process; without one they end with it.

    Raises:
      ConfigError: the address cannot be listened on, another daemon uses the folder, or the models
        do not fit the settings.
      StoreFailed: what lies in the folder cannot be read.
      XlstmdError: a model cannot be loaded or cannot forecast; whatever else it raises comes
        through too.
    """
    configure_logs(settings.log_level)
    with (
        open_socket(settings.host, settings.port) as listening,
        _opened(state_dir) as store,
    ):
        lanes = [make_lane(source, settings.lanes) for source in sources]
        server = Server(Engine(lanes, settings.engine_settings(), store=store), settings)
        logger.info("listening", extra={"url": url_of(listening)})
        server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


def make_lane(source: ModelSource, kind: str) -> Lane:
    """Loads a model into a lane.

    Args:
      source: of the model.
      kind: `process` or `thread`.

    Raises:
      LaneDown: the process ended, or was not ready in time.
      XlstmdError: the model cannot be loaded; whatever else it raises comes through too.
    """
    return ProcessLane(source) if kind == "process" else ThreadLane(source.load())


@contextmanager
def _opened(state_dir: Path | None) -> Iterator[SqliteStore | None]:
    """Opens the store of sessions; the engine closes it, unless it was never started."""
    if state_dir is None:
        yield None
        return
    store = SqliteStore(StoreFolder(state_dir))
    try:
        yield store
    finally:
        store.close()


def open_socket(host: str, port: int) -> socket.socket:
    """Opens the socket to listen on.

    Raises:
      ConfigError: the address is unknown, taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"host: expected an address, got {host} ({error.strerror})") from None
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise ConfigError(f"port: expected a free port, got {port} ({error.strerror})") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Gives the address of the console."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


class Server(uvicorn.Server):
    """Uvicorn's server; it goes on listening while the engine drains, to refuse what comes."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        """Prepares the server.

        Raises:
          ConfigError: see `Engine`.
        """
        self._engine = engine
        self._settings = settings
        self._manager = ServiceManager(os.environ)
        self._signs: asyncio.Task[None] | None = None
        self.failure: Exception | None = None
        super().__init__(
            uvicorn.Config(
                create_app(engine, settings, on_start=self._on_start),
                http=Connection.bounded_by(settings),
                ws=StreamConnection.bounded_by(settings),
                ws_max_size=settings.max_body_bytes,
                ws_ping_interval=PING_EVERY_S,
                ws_ping_timeout=LONGEST_STEPS * settings.max_deadline_s,
                ws_per_message_deflate=False,
                loop="uvloop",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=max(1, round(settings.keep_alive_s)),
                timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Drains on the first signal and ends at once on the second."""
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drains the engine, then closes what listens and what is connected."""
        logger.info("draining")
        self._manager.tell("STOPPING=1")
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.drain_timeout_s
        drain = loop.create_task(self._engine.drain(self._settings.drain_timeout_s))
        while not drain.done() and not self.force_exit:
            await asyncio.sleep(POLL_S)
        if self.force_exit:
            logger.warning("ended at once: what was not saved yet is lost")
            # What comes now is the end of tasks in their midst, traces and all.
            logging.getLogger("uvicorn.error").disabled = True
        # Who takes nothing of his answer may keep the process for as long as is left.
        self.config.timeout_graceful_shutdown = max(1, round(until - loop.time()))
        await super().shutdown(sockets)
        logger.info("stopped")

    def _on_start(self, failure: Exception | None) -> None:
        if failure is not None:
            self.failure = failure
            self.should_exit = True
            return
        # What the start has made stays: collections need not walk through it again and again.
        gc.collect()
        gc.freeze()
        logger.info("ready", extra={"model": self._engine.default_model})
        self._manager.tell("READY=1", f"STATUS=serving {self._engine.default_model}")
        is_well = lambda: not self._engine.is_stuck  # noqa: E731  Read again at each sign.
        self._signs = asyncio.get_running_loop().create_task(self._manager.watch(is_well))
