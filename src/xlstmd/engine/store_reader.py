"""What is read from the embedded store. One connection, one thread."""

import contextlib
import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from xlstmd.engine.session_record import (
    Ending,
    SessionKey,
    SessionRecord,
    SessionSummary,
    Tombstone,
)
from xlstmd.engine.snapshot import decode_snapshot
from xlstmd.engine.store import TOMBSTONE_S
from xlstmd.engine.store_folder import DISK_ERRORS, StoreFolder
from xlstmd.engine.store_schema import configure
from xlstmd.errors import SessionExpired, SnapshotDamaged, StoreFailed

logger = logging.getLogger(__name__)

_SESSION: Final = """
SELECT number, generation, created_ns, used_at_s FROM sessions
WHERE tenant = ? AND surface = ? AND id = ?"""

_SNAPSHOT: Final = """
SELECT file, snapshot FROM snapshots WHERE place = 2 * ? + ? % 2 AND generation = ?"""

_TOMBSTONE: Final = """
SELECT reason FROM tombstones WHERE tenant = ? AND surface = ? AND id = ? AND ended_at_s > ?"""

_SUMMARY: Final = """
SELECT tenant, surface, id, model, seq, created_ns, used_ns, used_at_s, nbytes FROM sessions"""
_SUMMARY_TYPES: Final = (str, str, str, str, int, int, int, float, int)

_FILE_NAME: Final = re.compile(r"\d+-\d+")

# A file may be replaced between the look into the database and the look at the file.
_TRIES: Final = 3


class _Row(NamedTuple):
    """The list's entry of a session; damage may have put anything into it."""

    number: Any
    generation: Any
    created_ns: Any
    used_at_s: Any


class _FileGone(Exception):
    """A file that the database named is not there, or not any more."""


class StoreReader:
    """Reads sessions. A failure closes the connection, and the next call opens another."""

    def __init__(self, folder: StoreFolder, now_s: Callable[[], float]) -> None:
        """Opens nothing yet.

        Args:
          folder: locked, with a prepared database.
          now_s: running time.
        """
        self.fallbacks = 0
        self._folder = folder
        self._now_s = now_s
        self._connection: sqlite3.Connection | None = None

    def read(self, key: SessionKey) -> SessionRecord | Tombstone | None:
        """Gives a session or its tombstone; see `Store.read`."""
        for _ in range(_TRIES - 1):
            with contextlib.suppress(_FileGone):
                return self._read(key, is_last=False)
        return self._read(key, is_last=True)

    def page(
        self, prefix: tuple[str, ...], after: SessionKey | None, limit: int
    ) -> list[SessionSummary]:
        """Lists sessions by key; see `Store.page`."""
        columns = ("tenant", "surface", "id")
        wanted = [f"{column} = ?" for column in columns[: len(prefix)]]
        values: list[object] = list(prefix)
        if after is not None:
            wanted.append("(tenant, surface, id) > (?, ?, ?)")
            values += after
        where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
        with self._view() as connection:
            return self._summaries(
                connection.execute(
                    f"{_SUMMARY}{where} ORDER BY tenant, surface, id LIMIT ?", (*values, limit)
                )
            )

    def idle(self, longer_than_s: float, limit: int) -> list[SessionSummary]:
        """Lists sessions by idle time; see `Store.idle`."""
        until = self._now_s() - longer_than_s
        with self._view() as connection:
            return self._summaries(
                connection.execute(
                    f"{_SUMMARY} WHERE used_at_s < ? ORDER BY used_at_s LIMIT ?", (until, limit)
                )
            )

    def close(self) -> None:
        """Closes the connection; a later call would open another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*DISK_ERRORS):
                connection.close()

    @contextlib.contextmanager
    def _view(self) -> Iterator[sqlite3.Connection]:
        """Gives the database as of one moment."""
        try:
            connection = self._connect()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        except DISK_ERRORS as error:
            self.close()
            reason = getattr(error, "strerror", None) or error
            raise StoreFailed(f"the store of sessions cannot be read: {reason}") from error

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._folder.connect()
            try:
                configure(connection)
                connection.execute("PRAGMA query_only = ON")
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _read(self, key: SessionKey, *, is_last: bool) -> SessionRecord | Tombstone | None:
        with self._view() as connection:
            found = connection.execute(_SESSION, key).fetchone()
            if found is None:
                return self._tombstone(connection, key)
            row = _Row(*found)
            record = self._generation(connection, key, row, back=0, is_last=is_last)
            if record is None:
                record = self._generation(connection, key, row, back=1, is_last=is_last)
                self._note_damage(key, record)
            if record is None:
                raise SessionExpired(
                    f"session {key.id}: its stored state is damaged", reason=Ending.EVICTED
                )
            used = row.used_at_s if isinstance(row.used_at_s, float) else self._now_s()
            return replace(record, idle_s=max(0.0, self._now_s() - used))

    def _note_damage(self, key: SessionKey, other: SessionRecord | None) -> None:
        self.fallbacks += 1
        left = f"the one of seq {other.seq} serves" if other else "nothing is left of it"
        logger.error("the latest snapshot of session %s is damaged; %s", "/".join(key), left)

    def _generation(
        self,
        connection: sqlite3.Connection,
        key: SessionKey,
        row: _Row,
        *,
        back: int,
        is_last: bool,
    ) -> SessionRecord | None:
        """Decodes one generation; None if it is absent, damaged, or of another stream."""
        if not isinstance(row.number, int) or not isinstance(row.generation, int):
            return None
        generation = row.generation - back
        try:
            found = connection.execute(_SNAPSHOT, (row.number, generation, generation)).fetchone()
            record = decode_snapshot(self._bytes(*found)) if found else None
        except SnapshotDamaged:
            return None
        except FileNotFoundError:
            if is_last:
                return None
            raise _FileGone from None
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            return None
        is_same = record and record.key == key and record.created_ns == row.created_ns
        return record if is_same else None

    def _bytes(self, file: object, snapshot: object) -> bytes:
        if isinstance(snapshot, bytes):
            return snapshot
        if not isinstance(file, str) or _FILE_NAME.fullmatch(file) is None:
            raise SnapshotDamaged("a snapshot or its file", f"{file}")
        return self._folder.read_large(file)

    def _tombstone(self, connection: sqlite3.Connection, key: SessionKey) -> Tombstone | None:
        since = self._now_s() - TOMBSTONE_S
        found = connection.execute(_TOMBSTONE, (*key, since)).fetchone()
        if found is None:
            return None
        reason = found[0] if found[0] in set(Ending) else Ending.ENDED
        return Tombstone(key=key, reason=Ending(reason))

    def _summaries(self, rows: sqlite3.Cursor) -> list[SessionSummary]:
        now_s = self._now_s()
        summaries = []
        for row in rows:
            if tuple(map(type, row)) != _SUMMARY_TYPES:
                raise StoreFailed("the list of sessions is damaged")
            tenant, surface, name, model, seq, created_ns, used_ns, used_at_s, nbytes = row
            summaries.append(
                SessionSummary(
                    key=SessionKey(tenant, surface, name),
                    model=model,
                    seq=seq,
                    created_ns=created_ns,
                    used_ns=used_ns,
                    idle_s=max(0.0, now_s - used_at_s),
                    nbytes=nbytes,
                )
            )
        return summaries


def _is_damage(error: sqlite3.Error) -> bool:
    """Says whether SQLite met bytes that it did not write, and not a disk that does not answer."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
