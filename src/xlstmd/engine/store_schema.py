"""The tables of the embedded store, their versions, and how a database is opened."""

import sqlite3
from typing import Final

from xlstmd.errors import ConfigError, StoreFailed

# Steps from one version of the schema to the next; a version is the number of steps taken, and a
# new database takes them all. A released step is never changed.
#
# A session has two places, numbers 2n and 2n + 1 for session n, of which the next generation takes
# the older: a commit writes one snapshot and leaves the one before as it was.
STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE clock (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            running_s REAL NOT NULL)""",
        "INSERT INTO clock VALUES (1, 0.0)",
        """CREATE TABLE sessions (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            tenant TEXT NOT NULL,
            surface TEXT NOT NULL,
            id TEXT NOT NULL,
            generation INTEGER NOT NULL,
            model TEXT NOT NULL,
            seq INTEGER NOT NULL,
            created_ns INTEGER NOT NULL,
            used_ns INTEGER NOT NULL,
            used_at_s REAL NOT NULL,
            nbytes INTEGER NOT NULL,
            UNIQUE (tenant, surface, id))""",
        "CREATE INDEX sessions_by_use ON sessions (used_at_s)",
        """CREATE TABLE snapshots (
            place INTEGER PRIMARY KEY,
            generation INTEGER NOT NULL,
            file TEXT,
            snapshot BLOB)""",
        "CREATE UNIQUE INDEX snapshots_by_file ON snapshots (file) WHERE file IS NOT NULL",
        """CREATE TABLE tombstones (
            tenant TEXT NOT NULL,
            surface TEXT NOT NULL,
            id TEXT NOT NULL,
            reason TEXT NOT NULL,
            ended_at_s REAL NOT NULL,
            PRIMARY KEY (tenant, surface, id)) WITHOUT ROWID""",
        "CREATE INDEX tombstones_by_age ON tombstones (ended_at_s)",
    ),
)

# "xlsm": a database of this program, whatever its name.
APPLICATION: Final = 0x786C736D

PAGE_BYTES: Final = 8192
LOG_BYTES: Final = 16 * 2**20


def prepare(connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...] = STEPS) -> None:
    """Makes a new database, or brings an old one up to date; checks the list of sessions.

    Args:
      connection: fresh.
      steps: see `STEPS`.

    Raises:
      ConfigError: the database belongs to another program or to a newer version of this one.
      StoreFailed: the list of sessions is damaged.
      sqlite3.Error: it cannot be read or written.
    """
    configure(connection)
    version = _check_owner(connection, newest=len(steps))
    if version < len(steps):
        _take_steps(connection, steps, version)
    # The list alone: it is small, and every snapshot has a checksum of its own.
    for table in ("sessions", "clock"):
        problems = [row[0] for row in connection.execute(f"PRAGMA integrity_check({table})")]
        if problems != ["ok"]:
            raise StoreFailed(
                f"the list of sessions is damaged ({problems[0]}): put a backup in its place, or "
                "move it away to start without its sessions"
            )


def configure(connection: sqlite3.Connection) -> None:
    """Sets what holds for one connection.

    Raises:
      StoreFailed: no write-ahead log can be kept there.
    """
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreFailed(f"journal_mode: expected wal, got {mode}; is this a network folder?")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // PAGE_BYTES}")
    connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    # Damage is found where it is met, and an altered schema runs nothing.
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _check_owner(connection: sqlite3.Connection, *, newest: int) -> int:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    is_new = not (application or version or tables)
    if not is_new and application != APPLICATION:
        raise ConfigError("state_dir: expected a database of sessions, got one of another program")
    if not 0 <= version <= newest:
        raise ConfigError(
            f"state_dir: expected a database of version {newest} or older, got version {version}, "
            "written by a newer xlstmd"
        )
    return int(version)


def _take_steps(
    connection: sqlite3.Connection, steps: tuple[tuple[str, ...], ...], version: int
) -> None:
    """Takes all missing steps, or none."""
    connection.execute("BEGIN IMMEDIATE")
    for step in steps[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {len(steps)}")
    connection.execute("COMMIT")
