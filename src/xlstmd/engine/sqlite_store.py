"""The embedded store: SQLite with a write-ahead log in a folder of its own. See `Store`."""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final, TypeVar

from xlstmd.engine.session_record import SessionKey, SessionRecord, SessionSummary, Tombstone
from xlstmd.engine.store import Change, StoreStatus
from xlstmd.engine.store_backup import back_up
from xlstmd.engine.store_changes import Tally, count_held, is_file_used
from xlstmd.engine.store_folder import DISK_ERRORS, StoreFolder
from xlstmd.engine.store_reader import StoreReader
from xlstmd.engine.store_schema import STEPS, prepare
from xlstmd.engine.store_writer import StoreWriter
from xlstmd.errors import StoreFailed

T = TypeVar("T")

# How long `close` waits for the disk.
CLOSE_S: Final = 30.0


class SqliteStore:
    """Sessions in one folder, for one process at a time. Not for network folders.

    One thread writes, one reads: a commit holds up no read. Methods may be called from any thread.
    """

    def __init__(
        self,
        folder: StoreFolder,
        *,
        clock: Callable[[], float] = time.monotonic,
        steps: tuple[tuple[str, ...], ...] = STEPS,
    ) -> None:
        """Takes the folder, and brings its database up to date.

        Args:
          folder: made if it is not there.
          clock: monotonic seconds.
          steps: of the schema.

        Raises:
          ConfigError: another process uses the folder, or it is not for us to write to.
          StoreFailed: the database is damaged or cannot be read or written.
        """
        self._folder = folder
        self._clock = clock
        self._is_closed = False
        self._closing = threading.Lock()
        folder.lock()
        try:
            connection, held = self._open(steps)
        except BaseException:
            folder.unlock()
            raise
        self._writer = StoreWriter(folder, connection, now_s=self._now_s, held=held)
        self._reader = StoreReader(folder, self._now_s)
        self._reads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xlstmd-store-read")
        self._backups = ThreadPoolExecutor(max_workers=1, thread_name_prefix="xlstmd-store-backup")

    def commit(self, changes: Sequence[Change], *, durable: bool = False) -> Future[None]:
        """Writes all changes or none; see `Store.commit`."""
        return self._writer.submit(changes, durable=durable)

    def read(self, key: SessionKey) -> "Future[SessionRecord | Tombstone | None]":
        """Gives the session as last written; see `Store.read`."""
        return self._on(self._reads, lambda: self._reader.read(key))

    def page(
        self, prefix: tuple[str, ...], *, after: SessionKey | None, limit: int
    ) -> Future[list[SessionSummary]]:
        """Lists sessions by key; see `Store.page`."""
        return self._on(self._reads, lambda: self._reader.page(prefix, after, limit))

    def idle(self, *, longer_than_s: float, limit: int) -> Future[list[SessionSummary]]:
        """Lists sessions by idle time; see `Store.idle`."""
        return self._on(self._reads, lambda: self._reader.idle(longer_than_s, limit))

    def back_up(self, target: Path) -> Future[None]:
        """Copies the store as of now into one file; see `store_backup`."""
        return self._on(self._backups, lambda: self._back_up(target))

    def status(self) -> StoreStatus:
        """Gives numbers for metrics."""
        database, log = self._folder.sizes()
        held = self._writer.held
        return StoreStatus(
            sessions=held.sessions,
            session_bytes=held.session_bytes,
            tombstones=held.tombstones,
            disk_bytes=database + log,
            log_bytes=log,
            waiting_bytes=self._writer.waiting_bytes,
            fallbacks=self._reader.fallbacks,
            failures=self._writer.failures,
            error=self._writer.error,
        )

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Writes what waits and gives the folder to others; again: does nothing.

        Args:
          timeout_s: for the disk; when it is over, the folder stays taken until the process ends.
        """
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        until = time.monotonic() + timeout_s
        last = [self._reads.submit(self._reader.close), self._backups.submit(lambda: None)]
        self._reads.shutdown(wait=False)
        self._backups.shutdown(wait=False)
        # Readers first: the log is emptied when nobody reads it.
        wait(last, timeout_s)
        if self._writer.close(max(0.0, until - time.monotonic())):
            self._folder.unlock()

    def _now_s(self) -> float:
        """Gives the running time, see `store`."""
        return self._ran_s + self._clock() - self._started

    def _open(self, steps: tuple[tuple[str, ...], ...]) -> tuple[sqlite3.Connection, Tally]:
        connection: sqlite3.Connection | None = None
        try:
            connection = self._folder.connect()
            prepare(connection, steps)
            (ran_s,) = connection.execute("SELECT CAST(running_s AS REAL) FROM clock").fetchone()
            self._ran_s, self._started = float(ran_s), self._clock()
            # On the disk first: a row that power loss brings back must find its file.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for name in self._folder.list_large():
                if not is_file_used(connection, name):
                    self._folder.remove_large(name)
            return connection, count_held(connection)
        except BaseException as error:
            if connection is not None:
                with contextlib.suppress(*DISK_ERRORS):
                    connection.close()
            if isinstance(error, DISK_ERRORS):
                place = self._folder.path
                raise StoreFailed(f"state_dir: {place} cannot be opened: {error}") from error
            raise

    def _back_up(self, target: Path) -> None:
        with self._writer.files_stay():
            back_up(self._folder, target, is_stopped=lambda: self._is_closed)

    def _on(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> Future[T]:
        try:
            return pool.submit(call)
        except RuntimeError:
            refused: Future[T] = Future()
            refused.set_exception(StoreFailed("the store is closed"))
            return refused
