"""The one thread that writes to the embedded store: waiting changes share transactions."""

import contextlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from xlstmd.engine.session_record import Tombstone
from xlstmd.engine.snapshot import encode_snapshot
from xlstmd.engine.store import CLOCK_SAVE_S, GROUP_BYTES, GROUP_CHANGES, Change
from xlstmd.engine.store_changes import EncodedChange, StoreChanges, Tally, count_held, is_file_used
from xlstmd.engine.store_folder import DISK_ERRORS, StoreFolder
from xlstmd.engine.store_schema import configure
from xlstmd.errors import Overloaded, StoreFailed, StoreFull

logger = logging.getLogger(__name__)

# What may wait to be written: a second or two of a common disk. Callers keep what is refused and
# offer its newest form later, so that a slow disk costs age and not memory.
WAITING_BYTES: Final = 256 * 2**20

# What a change costs in line beside its bytes.
_CHANGE_BYTES: Final = 512

_RETRY_S: Final = 1.0

# Commits in between leave the clock alone: it would be one more page for each of them.
_CLOCK_STEP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Call:
    changes: Sequence[Change]
    is_durable: bool
    nbytes: int
    done: Future[None]


@dataclass(slots=True)
class _Group:
    """Calls that share a transaction, with their bytes."""

    calls: list[_Call]
    encoded: list[EncodedChange]

    @property
    def is_durable(self) -> bool:
        """Whether somebody waits for the disk; files are always waited for."""
        return any(call.is_durable for call in self.calls) or any(
            one.is_large for one in self.encoded
        )


class StoreWriter:
    """Owns the writing connection. Everything but `_work` may be called from any thread."""

    def __init__(
        self,
        folder: StoreFolder,
        connection: sqlite3.Connection,
        *,
        now_s: Callable[[], float],
        held: Tally,
    ) -> None:
        """Starts the thread.

        Args:
          folder: locked.
          connection: prepared; the writer closes it, and opens others after failures.
          now_s: running time.
          held: what the store holds.
        """
        self.held = held
        self.failures = 0
        self.error: str | None = None
        self._folder = folder
        self._now_s = now_s
        self._connection: sqlite3.Connection | None = connection
        self._is_full_sync = False
        self._saved_s = now_s()
        self._needless: list[str] = []
        self._doubtful: list[str] = []
        self._keepers = 0
        self._waiting: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._is_closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="xlstmd-store", daemon=True)
        self._thread.start()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the changes that are not yet written."""
        return self._waiting_bytes

    def submit(self, changes: Sequence[Change], *, durable: bool) -> Future[None]:
        """Puts changes in line; see `Store.commit`."""
        nbytes = sum(change.nbytes + _CHANGE_BYTES for change in changes)
        call = _Call(tuple(changes), durable, nbytes, Future())
        with self._wake:
            if self._is_closing:
                call.done.set_exception(StoreFull("the store is closed"))
            elif self._waiting_bytes and self._waiting_bytes + nbytes > WAITING_BYTES:
                message = f"the store is slow: {self._waiting_bytes} bytes wait to be written"
                call.done.set_exception(Overloaded(message, retry_after_s=_RETRY_S))
            else:
                self._waiting.append(call)
                self._waiting_bytes += nbytes
                self._wake.notify()
        return call.done

    @contextlib.contextmanager
    def files_stay(self) -> Iterator[None]:
        """Keeps files that become needless until the end of the block."""
        with self._wake:
            self._keepers += 1
        try:
            yield
        finally:
            with self._wake:
                self._keepers -= 1

    def close(self, timeout_s: float) -> bool:
        """Writes what waits and ends the thread; says whether it has ended in time."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            with self._wake:
                if not self._waiting and not self._is_closing:
                    self._wake.wait(CLOCK_SAVE_S)
                calls = self._take()
                is_last = self._is_closing and not self._waiting
            self._commit(calls)
            if is_last:
                self._finish()
                return

    def _take(self) -> list[_Call]:
        """Takes calls for one transaction out of the line."""
        calls: list[_Call] = []
        nbytes = count = 0
        while self._waiting:
            call = self._waiting[0]
            nbytes, count = nbytes + call.nbytes, count + len(call.changes)
            if calls and (nbytes > GROUP_BYTES or count > GROUP_CHANGES):
                break
            calls.append(self._waiting.popleft())
        return calls

    def _commit(self, calls: list[_Call]) -> None:
        group = _encode(calls)
        error = self._try(group)
        with self._wake:
            self._waiting_bytes -= sum(call.nbytes for call in calls)
        for call in group.calls:
            if error is None:
                call.done.set_result(None)
            else:
                call.done.set_exception(error)

    def _try(self, group: _Group) -> Exception | None:
        """Writes a group; gives what its callers are told if that fails."""
        try:
            self._transact(group)
        except (*DISK_ERRORS, StoreFailed) as error:
            self.failures += 1
            # Without the path: callers may be told.
            self.error = getattr(error, "strerror", None) or str(error)
            logger.warning("sessions could not be written: %s", error)
            return StoreFull(f"the store takes no writes now: {self.error}")
        except Exception as error:  # A fault of ours must not end the thread.
            logger.exception("sessions could not be written")
            return error
        self.error = None
        return None

    def _transact(self, group: _Group) -> None:
        """Writes a group or nothing of it; after a failure the next one gets a new connection."""
        changes: StoreChanges | None = None
        now_s = self._now_s()
        is_clock_due = now_s - self._saved_s >= _CLOCK_STEP_S
        try:
            connection = self._connect()
            # Files go once nothing can bring back the rows that meant them.
            self._sync(connection, is_full=group.is_durable or bool(self._needless))
            connection.execute("BEGIN IMMEDIATE")
            changes = StoreChanges(connection, self._folder, now_s)
            for encoded in group.encoded:
                changes.write(encoded)
            changes.prune()
            if is_clock_due:
                changes.save_clock()
            if changes.tally.made:
                self._folder.sync_large()
            connection.execute("COMMIT")
        except BaseException:
            self._disconnect()
            self._doubtful += changes.tally.made if changes else []
            raise
        self._saved_s = now_s if is_clock_due else self._saved_s
        self._settle(changes.tally)

    def _settle(self, tally: Tally) -> None:
        self.held.sessions += tally.sessions
        self.held.session_bytes += tally.session_bytes
        self.held.tombstones += tally.tombstones
        gone, waits = tally.needless, self._needless
        if self._is_full_sync and not self._keepers:
            self._needless = []
            self._remove(waits + gone)
        else:
            self._needless = waits + gone

    def _remove(self, files: Sequence[str]) -> None:
        """Removes files; one that stays is removed at the next start."""
        for name in files:
            with contextlib.suppress(OSError):
                self._folder.remove_large(name)

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._folder.connect()
            try:
                configure(connection)
                # A commit that failed may have come through all the same.
                self.held = count_held(connection)
                unused = [name for name in self._doubtful if not is_file_used(connection, name)]
            except BaseException:
                connection.close()
                raise
            self._doubtful = []
            self._remove(unused)
            self._connection, self._is_full_sync = connection, False
        return self._connection

    def _disconnect(self) -> None:
        """Gives the connection up, and with it any open transaction."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DISK_ERRORS):
                connection.close()

    def _sync(self, connection: sqlite3.Connection, *, is_full: bool) -> None:
        if is_full != self._is_full_sync:
            connection.execute(f"PRAGMA synchronous = {'FULL' if is_full else 'NORMAL'}")
            self._is_full_sync = is_full

    def _finish(self) -> None:
        """Leaves one file without a log, and no file that nothing means."""
        try:
            connection = self._connect()
            connection.execute("UPDATE clock SET running_s = ?", (self._now_s(),))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._remove(self._needless)
        except (*DISK_ERRORS, StoreFailed) as error:
            logger.warning("the store closes without its last words: %s", error)
        self._disconnect()


def _encode(calls: list[_Call]) -> _Group:
    """Makes the bytes of every call that is still wanted; one that has none fails alone."""
    group = _Group([], [])
    for call in calls:
        if not call.done.set_running_or_notify_cancel():
            continue
        try:
            encoded = [_encode_change(change) for change in call.changes]
        except Exception as error:
            call.done.set_exception(error)
        else:
            group.calls.append(call)
            group.encoded += encoded
    return group


def _encode_change(change: Change) -> EncodedChange:
    if isinstance(change, Tombstone):
        return EncodedChange(change, b"")
    return EncodedChange(change, encode_snapshot(change))
