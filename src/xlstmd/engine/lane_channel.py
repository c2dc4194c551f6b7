"""Messages between the front of the daemon and a lane's process: numbers through shared memory.

A message is a header, a small text, and arrays. Both lie in memory that the two processes share; a
few bytes through a socket say that they are there. A message that is too large for its half of that
memory comes in memory of its own, whose descriptor goes through the socket, so that nothing large
is copied twice.
"""

import json
import mmap
import os
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# First comes the moment of the lane's last sign, then the message to the lane, then that from it.
_BEAT_BYTES: Final = 64
HALF_BYTES: Final = 2**20
MEMORY_BYTES: Final = _BEAT_BYTES + 2 * HALF_BYTES

# Through the socket: bytes of the header and of all arrays.
_NOTE: Final = struct.Struct("qq")
_ALIGNMENT: Final = 64

_ENCODE: Final = json.JSONEncoder(separators=(",", ":")).encode


class Message(NamedTuple):
    """What has come.

    Args:
      header: see `LaneChannel.send`.
      arrays: see `LaneChannel.send`.
    """

    header: dict[str, Any]
    arrays: list[Array]


class Closed(Exception):
    """The other end is gone."""


class NoRoom(Closed):
    """A large message is lost: this process has no descriptor or no memory for it."""


class LaneChannel:
    """One end of the way between front and lane. At most one message lies in each half."""

    def __init__(self, connection: socket.socket, memory: int, *, is_lane: bool) -> None:
        """Takes over a connected stream socket.

        Args:
          connection: to the other end.
          memory: descriptor of what `make_memory` made.
          is_lane: whether this is the lane's end.
        """
        self.connection = connection
        self._memory = mmap.mmap(memory, MEMORY_BYTES)
        # Read and written in one go: `struct` would leave a zero there for a moment.
        self._beat = memoryview(self._memory)[:_BEAT_BYTES].cast("d")
        to_lane, from_lane = _BEAT_BYTES, _BEAT_BYTES + HALF_BYTES
        self._out, self._in = (from_lane, to_lane) if is_lane else (to_lane, from_lane)
        self._copies = not is_lane

    @property
    def beat(self) -> float:
        """Moment of the lane's last sign, by the monotonic clock that all processes share."""
        return self._beat[0]

    def give_sign(self) -> None:
        """Notes that the lane lives."""
        self._beat[0] = time.monotonic()

    def send(self, header: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Sends a message; the one before must have been answered, or be an answer.

        Args:
          header: what JSON can hold.
          arrays: of numbers.

        Raises:
          Closed: the other end is gone.
          NoRoom: it cannot be sent now.
        """
        parts = [array if array.flags.c_contiguous else array.copy() for array in arrays]
        forms = [(part.dtype.str, part.shape) for part in parts]
        text = _ENCODE([header, forms]).encode()
        size = sum(_aligned(part.nbytes) for part in parts)
        start = _aligned(len(text))
        note = _NOTE.pack(len(text), size)
        try:
            if start + size <= HALF_BYTES:
                _write(self._memory, self._out, text, parts)
                self.connection.sendall(note)
                return
            with _OwnMemory(start + size) as own:
                _write(own.memory, 0, text, parts)
                socket.send_fds(self.connection, [note], [own.descriptor])
        except OSError as error:
            raise Closed from error

    def receive(self) -> Message:
        """Takes the message that has come.

        At the lane's end its arrays are those in shared memory: they change with the next message.

        Raises:
          Closed: the other end is gone.
          NoRoom: it cannot be taken.
          BlockingIOError: none has come, where the connection does not block.
          TimeoutError: none has come in the time that the connection has.
        """
        try:
            note, descriptors, _, _ = socket.recv_fds(self.connection, _NOTE.size, 1)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as error:
            raise Closed from error
        if len(note) < _NOTE.size:
            raise Closed
        text_bytes, size = _NOTE.unpack(note)
        length = _aligned(text_bytes) + size
        view: memoryview
        if length > HALF_BYTES:
            # A process that may open no more is given none.
            if not descriptors:
                raise NoRoom
            with _OwnMemory(length, descriptors[0]) as own:
                view = memoryview(own.memory)
        else:
            view = memoryview(self._memory)[self._in : self._in + length]
            if self._copies:
                view = memoryview(bytearray(view))
        return _read(view, text_bytes)

    def close(self) -> None:
        """Closes this end."""
        self.connection.close()


def make_memory() -> int:
    """Makes the memory that both ends share, without a name, and gives its descriptor."""
    return _anonymous(MEMORY_BYTES)


class _OwnMemory:
    """Memory of one message; it lives as long as something refers to it."""

    def __init__(self, length: int, descriptor: int | None = None) -> None:
        try:
            self.descriptor = _anonymous(length) if descriptor is None else descriptor
        except OSError as error:
            raise NoRoom from error
        try:
            self.memory = mmap.mmap(self.descriptor, length)
        except OSError as error:
            os.close(self.descriptor)
            raise NoRoom from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Lets go of the descriptor."""
        os.close(self.descriptor)


def _anonymous(length: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("xlstmd")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, length)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _write(memory: mmap.mmap, start: int, text: bytes, parts: Sequence[Array]) -> None:
    memory[start : start + len(text)] = text
    place = start + _aligned(len(text))
    for part in parts:
        if part.nbytes:
            memory[place : place + part.nbytes] = part.reshape(-1).view(np.uint8).data
            place += _aligned(part.nbytes)


def _read(view: memoryview, text_bytes: int) -> Message:
    header, forms = json.loads(bytes(view[:text_bytes]))
    place = _aligned(text_bytes)
    arrays = []
    for name, shape in forms:
        kind = np.dtype(name)
        if 0 in shape:
            arrays.append(np.empty(shape, dtype=kind))
            continue
        array: Array = np.ndarray(shape, dtype=kind, buffer=view, offset=place)
        arrays.append(array)
        place += _aligned(array.nbytes)
    return Message(header, arrays)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
