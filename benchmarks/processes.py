"""Processes that a benchmark starts and surely ends: servers and the load generator."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self

from benchmarks.harness import ROOT, BenchmarkError
from benchmarks.load import Job, Outcome

START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.05
LOG_TAIL = 2000


class ServerProcess:
    """A server on a loopback port of its own; a context manager that gives the port when ready."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        ready_path: str,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps what to start.

        Args:
          arguments: of this Python; `{port}` in them becomes the port.
          ready_path: answers 200 once the server can work.
          settings: variables added to the environment, from which all of the daemon's are removed.
        """
        self._arguments = tuple(arguments)
        self._ready_path = ready_path
        self._settings = dict(settings or {})
        self._ending = ExitStack()

    def __enter__(self) -> int:
        """Starts the server and waits until it is ready.

        Raises:
          BenchmarkError: it ended or was not ready in time; with the end of its log.
        """
        port = free_port()
        command = [sys.executable, *(part.format(port=port) for part in self._arguments)]
        with ExitStack() as started:
            log = started.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=_environment() | self._settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            started.callback(_end, process)
            deadline = time.monotonic() + START_SECONDS
            while not _answers(port, self._ready_path):
                if process.poll() is not None or time.monotonic() > deadline:
                    _end(process)
                    log.seek(0)
                    tail = log.read().decode(errors="replace")[-LOG_TAIL:]
                    name = " ".join(self._arguments)
                    raise BenchmarkError(f"{name}: expected a ready server, got\n{tail}")
                time.sleep(POLL_SECONDS)
            self._ending = started.pop_all()
        return port

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the server."""
        self._ending.close()


class LoadGenerator:
    """The load generator's process; a context manager."""

    def __enter__(self) -> Self:
        """Starts it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it."""
        _end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def run(self, job: Job) -> Outcome:
        """Runs one job.

        Raises:
          BenchmarkError: the generator ended, nothing was answered, or an answer was not 200.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(job)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline() or '{"error": "the load generator ended"}'
        answer = json.loads(line)
        statuses = answer.get("statuses", {})
        if set(statuses) != {"200"}:
            got = answer.get("error") or statuses or "no answer"
            where = f"{job.method} {job.path}, {job.clients} clients"
            raise BenchmarkError(f"{where}: expected only status 200, got {got}")
        return Outcome(**answer)


def free_port() -> int:
    """Gives a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _environment() -> dict[str, str]:
    # A caller's settings of the daemon must not change what is measured.
    return {name: value for name, value in os.environ.items() if not name.startswith("XLSTMD_")}


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
