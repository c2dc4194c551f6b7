"""Thousands of clients in one process: as little as can be between a test and a daemon."""

import asyncio
import json
import resource
import time
from contextlib import suppress

from xlstmd.server.append import APPEND_PATH

# Files that a process needs beside its connections.
OTHER_FILES = 200


def room_for(clients):
    """Gives how many clients there may be: raises the limit on open files as far as it goes."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most == resource.RLIM_INFINITY:
        return clients
    return min(clients, most - OTHER_FILES)


class Connection:
    """One connection, over which one request goes at a time; opened when it is needed."""

    def __init__(self, port):
        self._port = port
        self._reader = self._writer = None

    async def post(self, body):
        """Sends an append; gives status, headers and content of the answer.

        Raises:
          OSError: the connection broke; likewise `EOFError`.
        """
        content = json.dumps(body).encode()
        head = (
            f"POST {APPEND_PATH} HTTP/1.1\r\nhost: 127.0.0.1:{self._port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        try:
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writer.write(head.encode() + content)
            return await self._read()
        except (OSError, EOFError):
            await self.close()
            raise

    async def _read(self):
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        content = await self._reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), headers, json.loads(content)

    async def close(self):
        """Closes it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class Swarm:
    """Connections that share what is to be done.

    Attributes:
      answered: how many requests were answered.
    """

    def __init__(self, daemon, connections):
        self._daemon = daemon
        self._idle = asyncio.Queue()
        self.connections = [Connection(daemon.port) for _ in range(connections)]
        for one in self.connections:
            self._idle.put_nowait(one)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        for one in self.connections:
            await one.close()

    async def post(self, body):
        """Sends an append over a connection that is free; gives the answer, which must be 200."""
        connection = await self._idle.get()
        try:
            status, _, answer = await connection.post(body)
        finally:
            self._idle.put_nowait(connection)
        self._daemon.note_sent()
        assert status == 200, answer
        return answer

    async def post_at(self, due, body):
        """Sends an append at a moment; gives the answer and the seconds from then to it."""
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        answer = await self.post(body)
        return answer, time.perf_counter() - due
