"""A copy of the embedded store, made while it is used: one file, whole in itself."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from xlstmd.engine.store_folder import DISK_ERRORS, StoreFolder
from xlstmd.errors import StoreFailed

# Copied between two looks at whether to stop.
_STEP_PAGES = 1024


def back_up(folder: StoreFolder, target: Path, *, is_stopped: Callable[[], bool]) -> None:
    """Copies the database as of now, with large snapshots inside it.

    As `sessions.sqlite` in an empty state folder the copy is a store. It holds what users showed
    the model, and only its owner may read it.

    Args:
      folder: whose files stay as long as this runs.
      target: of the copy; replaced when the copy is complete, and left alone before.
      is_stopped: asked now and then; True ends the copying.

    Raises:
      StoreFailed: it could not be read or written, or was stopped.
    """
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(folder, partial, is_stopped)
        _sync(partial)
        partial.replace(target)
        _sync(target.parent)
    except DISK_ERRORS as error:
        raise StoreFailed(f"the backup could not be made: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _copy(folder: StoreFolder, partial: Path, is_stopped: Callable[[], bool]) -> None:
    def go_on(status: int, remaining: int, total: int) -> None:
        del status, remaining, total
        if is_stopped():
            raise StoreFailed("the backup was stopped: the store closes")

    with (
        contextlib.closing(folder.connect()) as source,
        contextlib.closing(sqlite3.connect(partial, isolation_level=None)) as copy,
    ):
        # One view from the first page to the last: or each commit would start the copy again.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM clock").fetchone()
        source.backup(copy, pages=_STEP_PAGES, progress=go_on)
        copy.execute("PRAGMA journal_mode = DELETE")
        copy.execute("BEGIN")
        places = copy.execute("SELECT place, file FROM snapshots WHERE file IS NOT NULL").fetchall()
        for place, file in places:
            # Damaged or lost here as there: its checksum or its absence tells.
            with contextlib.suppress(FileNotFoundError):
                copy.execute(
                    "UPDATE snapshots SET file = NULL, snapshot = ? WHERE place = ?",
                    (folder.read_large(file), place),
                )
        copy.execute("COMMIT")


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
