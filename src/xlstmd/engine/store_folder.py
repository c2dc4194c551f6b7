"""The files of a state folder. Whatever the store does to a disk, it does here."""

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from xlstmd.errors import ConfigError

DATABASE: Final = "sessions.sqlite"
LOCK: Final = "lock"
LARGE: Final = "large"

# What a disk that is full, failing or damaged raises. The last comes from Python, when it tells of
# damage in SQLite's words, which quote it.
DISK_ERRORS: Final = (sqlite3.Error, OSError, UnicodeDecodeError)

# Half-written files have this ending.
_PARTIAL: Final = ".partial"

# Nobody else holds the database: a wait only bridges a checkpoint.
_BUSY_S: Final = 5.0

# Sessions are what their owners showed us: for this user alone.
_FILE_MODE: Final = 0o600
_FOLDER_MODE: Final = 0o700


class StoreFolder:
    """A folder with a database, a lock, and large snapshots in files of their own."""

    def __init__(self, path: Path) -> None:
        """Names the folder; `lock` makes and takes it."""
        self.path = path
        self._large = path / LARGE
        self._lock: int | None = None

    def make(self) -> None:
        """Makes the folder where there is none.

        Raises:
          ConfigError: it cannot be.
        """
        try:
            self.path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            self._large.mkdir(mode=_FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def lock(self) -> None:
        """Makes the folder and takes it for this process, until `unlock` or the process's end.

        Raises:
          ConfigError: another store has it, or it cannot be written.
        """
        self.make()
        try:
            lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, _FILE_MODE)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            reason = f"in use by process {holder}" if isinstance(error, BlockingIOError) else error
            raise ConfigError(
                f"state_dir: expected a folder that no other daemon uses, got {self.path}, {reason}"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def unlock(self) -> None:
        """Gives the folder to others."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _unusable(self, error: OSError) -> ConfigError:
        expected = f"expected a folder that can be written, got {self.path}"
        return ConfigError(f"state_dir: {expected}: {error.strerror}")

    def connect(self) -> sqlite3.Connection:
        """Opens the database, and makes it where there is none."""
        path = self.path / DATABASE
        # Made here, so that nobody else may read it: its log takes over the mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _FILE_MODE))
        return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)

    def write_large(self, name: str, snapshot: bytes) -> None:
        """Writes a file that is there whole or not at all; `sync_large` makes its name last."""
        partial = self._large / (name + _PARTIAL)
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FILE_MODE)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(snapshot)
                stream.flush()
                os.fsync(stream.fileno())
            partial.rename(self._large / name)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise

    def sync_large(self) -> None:
        """Makes the names of all files written so far outlast a loss of power."""
        folder = os.open(self._large, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def read_large(self, name: str) -> bytes:
        """Gives the bytes of a file."""
        return (self._large / name).read_bytes()

    def remove_large(self, name: str) -> None:
        """Removes a file, if it is there."""
        (self._large / name).unlink(missing_ok=True)

    def list_large(self) -> list[str]:
        """Gives the names of all files, half-written ones too."""
        return os.listdir(self._large)

    def sizes(self) -> tuple[int, int]:
        """Gives the bytes of database and of its log."""
        return _size(self.path / DATABASE), _size(self.path / f"{DATABASE}-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
