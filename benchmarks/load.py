"""The load generator: a process of its own that sends HTTP/1.1 requests over kept connections.

    python -m benchmarks.load

Reads one job as JSON from each line of standard input and answers each with one line. It speaks
plain sockets, because a client library would cost more processor time than the server measured.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

HEADER_END = b"\r\n\r\n"

# How long the last answers may take after a job's time is over.
ANSWER_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to send.

    Args:
      port: of the server, on 127.0.0.1.
      method: of the request.
      path: of the request.
      bodies: JSON texts; client k sends number k modulo their count, "" is no body.
      clients: connections, each with one request in flight.
      max_requests: over all clients; none is started after them.
      max_seconds: none is started after them.
      keep_answers: whether to give back each client's last answer.
    """

    port: int
    method: str
    path: str
    bodies: tuple[str, ...]
    clients: int
    max_requests: int
    max_seconds: float
    keep_answers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a job.

    Args:
      latencies_ms: of each answered request.
      seconds: from the first request to the last answer.
      cpu_share: processor time of this process by elapsed time; 1 is a whole core.
      statuses: how often each status came.
      answers: each client's last body, where wanted.
    """

    latencies_ms: tuple[float, ...]
    seconds: float
    cpu_share: float
    statuses: dict[str, int]
    answers: tuple[str, ...]


class Connection(asyncio.Protocol):
    """One kept connection with at most one request in flight."""

    def __init__(self) -> None:
        """Starts without a request."""
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        # uvloop's transports have all methods of the class and do not derive from it.
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fails the request in flight."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        """Completes the request once its whole answer is here."""
        self._received += data
        head_length = self._received.find(HEADER_END)
        if head_length < 0 or self._answer is None:
            return
        head = bytes(self._received[:head_length])
        start = head_length + len(HEADER_END)
        if len(self._received) < start + _content_length(head):
            return
        body = bytes(self._received[start:])
        self._received.clear()
        if not self._answer.done():
            self._answer.set_result((int(head.split(b" ", 2)[1]), body))

    async def send(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request and gives status and body of its answer."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.close()


async def run_job(job: Job) -> Outcome:
    """Opens the connections, sends until a bound is met, and gives what came."""
    loop = asyncio.get_running_loop()
    connections = [
        (await loop.create_connection(Connection, "127.0.0.1", job.port))[1]
        for _ in range(job.clients)
    ]
    latencies: list[float] = []
    statuses: dict[str, int] = {}
    answers = [""] * job.clients
    started = 0
    cpu_start, start = time.process_time(), time.perf_counter()
    end = start + job.max_seconds

    async def client(index: int, connection: Connection) -> None:
        nonlocal started
        request = _request(job, job.bodies[index % len(job.bodies)])
        while started < job.max_requests and time.perf_counter() < end:
            started += 1
            sent = time.perf_counter()
            status, body = await connection.send(request)
            latencies.append(1000.0 * (time.perf_counter() - sent))
            statuses[str(status)] = statuses.get(str(status), 0) + 1
            if job.keep_answers:
                answers[index] = body.decode()

    try:
        async with asyncio.timeout(job.max_seconds + ANSWER_SECONDS):
            await asyncio.gather(*(client(*numbered) for numbered in enumerate(connections)))
    finally:
        for connection in connections:
            connection.close()
    seconds = time.perf_counter() - start
    return Outcome(
        latencies_ms=tuple(latencies),
        seconds=seconds,
        cpu_share=(time.process_time() - cpu_start) / seconds,
        statuses=statuses,
        answers=tuple(answers) if job.keep_answers else (),
    )


def _request(job: Job, body: str) -> bytes:
    content = body.encode()
    head = [f"{job.method} {job.path} HTTP/1.1", f"Host: 127.0.0.1:{job.port}"]
    if content:
        head += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(head).encode() + HEADER_END + content


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"answer: expected a content-length, got {head!r}")


def main() -> None:
    """Works through the jobs of standard input."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin:
            try:
                answer = asdict(runner.run(run_job(Job(**json.loads(line)))))
            except (OSError, ValueError) as error:
                # A timeout is an OSError too.
                answer = {"error": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
