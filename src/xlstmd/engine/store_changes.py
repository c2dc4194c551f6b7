"""Changes of sessions as rows: one transaction of the embedded store."""

import sqlite3
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from xlstmd.engine.session_record import SessionKey, SessionRecord, Tombstone
from xlstmd.engine.store import TOMBSTONE_S, Change
from xlstmd.engine.store_folder import StoreFolder

# Larger snapshots lie in files: SQLite copies what it holds twice, into its log and out of it.
LARGE_BYTES: Final = 2**20

# Tombstones removed by one transaction at most; more than it can bring.
_PRUNED: Final = 1024

_FIND: Final = """
SELECT s.number, s.generation, s.nbytes,
       (SELECT file FROM snapshots WHERE place = 2 * s.number + (s.generation + 1) % 2)
FROM sessions s WHERE tenant = ? AND surface = ? AND id = ?"""

_INSERT: Final = """
INSERT INTO sessions (generation, model, seq, created_ns, used_ns, used_at_s, nbytes,
                      tenant, surface, id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

_UPDATE: Final = """
UPDATE sessions SET generation = ?, model = ?, seq = ?, created_ns = ?, used_ns = ?, used_at_s = ?,
                    nbytes = ?
WHERE number = ?"""

_PRUNE: Final = """
DELETE FROM tombstones WHERE (tenant, surface, id) IN (
    SELECT tenant, surface, id FROM tombstones WHERE ended_at_s < ?
    ORDER BY ended_at_s LIMIT ?)"""


class EncodedChange(NamedTuple):
    """A change with its bytes, made before the transaction begins.

    Attributes:
      change: what to write.
      snapshot: of a record; empty for a tombstone.
    """

    change: Change
    snapshot: bytes

    @property
    def is_large(self) -> bool:
        """Whether the snapshot goes into a file of its own."""
        return len(self.snapshot) > LARGE_BYTES


@dataclass(slots=True)
class Tally:
    """What a transaction adds, and which files it made or made needless.

    Attributes:
      sessions: more than before.
      session_bytes: more than before.
      tombstones: more than before.
      made: files that only this transaction knows.
      needless: files that nothing refers to once it is durable.
    """

    sessions: int = 0
    session_bytes: int = 0
    tombstones: int = 0
    made: list[str] = field(default_factory=list)
    needless: list[str] = field(default_factory=list)


def count_held(connection: sqlite3.Connection) -> Tally:
    """Counts what the store holds."""
    (sessions, nbytes) = connection.execute(
        "SELECT count(*), coalesce(sum(nbytes), 0) FROM sessions"
    ).fetchone()
    (tombstones,) = connection.execute("SELECT count(*) FROM tombstones").fetchone()
    return Tally(sessions=sessions, session_bytes=nbytes, tombstones=tombstones)


def is_file_used(connection: sqlite3.Connection, name: str) -> bool:
    """Says whether a snapshot lies in this file."""
    found = connection.execute("SELECT 1 FROM snapshots WHERE file = ?", (name,))
    return found.fetchone() is not None


class StoreChanges:
    """Writes changes inside an open transaction, and tallies them."""

    def __init__(self, connection: sqlite3.Connection, folder: StoreFolder, now_s: float) -> None:
        """Begins.

        Args:
          connection: with a transaction open; whoever opened it commits or rolls back.
          folder: takes large snapshots.
          now_s: running time.
        """
        self._run = connection.execute
        self._folder = folder
        self._now_s = now_s
        self.tally = Tally()

    def write(self, encoded: EncodedChange) -> None:
        """Writes one change; errors of SQLite and of files go through."""
        if isinstance(encoded.change, Tombstone):
            self._end(encoded.change)
        else:
            self._put(encoded.change, encoded)

    def prune(self) -> None:
        """Removes tombstones that have stood long enough, a bounded number."""
        gone = self._run(_PRUNE, (self._now_s - TOMBSTONE_S, _PRUNED))
        self.tally.tombstones -= gone.rowcount

    def save_clock(self) -> None:
        """Writes the running time."""
        self._run("UPDATE clock SET running_s = ?", (self._now_s,))

    def _put(self, record: SessionRecord, encoded: EncodedChange) -> None:
        size = len(encoded.snapshot)
        row = self._run(_FIND, record.key).fetchone()
        generation = row[1] + 1 if row else 1
        values = (
            generation,
            record.model,
            record.seq,
            record.created_ns,
            record.used_ns,
            self._now_s - record.idle_s,
            size,
        )
        if row:
            number, _, old_size, file = row
            self._run(_UPDATE, (*values, number))
            self.tally.session_bytes += size - old_size
            if file is not None:
                self.tally.needless.append(file)
        else:
            number = self._run(_INSERT, (*values, *record.key)).lastrowid
            self.tally.sessions += 1
            self.tally.session_bytes += size
            self._forget_tombstone(record.key)
        self._place(number, generation, encoded)

    def _place(self, number: int, generation: int, encoded: EncodedChange) -> None:
        name: str | None = None
        if encoded.is_large:
            # Numbers are never used twice, so no committed row can mean this file.
            name = f"{number}-{generation}"
            self.tally.made.append(name)
            self._folder.write_large(name, encoded.snapshot)
        self._run(
            "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
            (
                2 * number + generation % 2,
                generation,
                name,
                None if name else encoded.snapshot,
            ),
        )

    def _end(self, tombstone: Tombstone) -> None:
        row = self._run(_FIND, tombstone.key).fetchone()
        if row:
            number, _, size, _ = row
            gone = self._run(
                "DELETE FROM snapshots WHERE place IN (?, ?) RETURNING file",
                (2 * number, 2 * number + 1),
            )
            self.tally.needless += [file for (file,) in gone.fetchall() if file is not None]
            self._run("DELETE FROM sessions WHERE number = ?", (number,))
            self.tally.sessions -= 1
            self.tally.session_bytes -= size
        self._forget_tombstone(tombstone.key)
        self._run(
            "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?)",
            (*tombstone.key, tombstone.reason.value, self._now_s),
        )
        self.tally.tombstones += 1

    def _forget_tombstone(self, key: SessionKey) -> None:
        gone = self._run(
            "DELETE FROM tombstones WHERE tenant = ? AND surface = ? AND id = ?", tuple(key)
        )
        self.tally.tombstones -= gone.rowcount
