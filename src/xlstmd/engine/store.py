"""Where sessions outlive the process: what the engine asks of any store.

Time here is running time: seconds in which the engine ran, counted by a monotonic clock, stored
with the sessions and taken up again at the next start. Idle time is running time without a request.
So a clock that is set does nothing to a session, whenever it happens; nor does an outage or a
suspended machine, in which no client could have come. Wall times are kept to be shown, and never
compared. A crash may lose the last `CLOCK_SAVE_S` of it: sessions then seem so much younger.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Protocol

from xlstmd.engine.session_record import SessionKey, SessionRecord, SessionSummary, Tombstone

Change = SessionRecord | Tombstone

# Running time is written at least this often.
CLOCK_SAVE_S: Final = 60.0

# One transaction takes about so much: others wait for it, and all of it fails together.
GROUP_BYTES: Final = 8 * 2**20
GROUP_CHANGES: Final = 512

TOMBSTONE_S: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """What a store holds and how it fares.

    Args:
      sessions: stored ones.
      session_bytes: of their latest snapshots.
      tombstones: kept ones.
      disk_bytes: of database and log, without large snapshots in files of their own.
      log_bytes: of the write-ahead log alone.
      waiting_bytes: of changes not yet written.
      fallbacks: reads whose latest snapshot was damaged, since the start.
      failures: groups of changes that could not be written, since the start.
      error: why the last group could not be written; None if it was.
    """

    sessions: int
    session_bytes: int
    tombstones: int
    disk_bytes: int
    log_bytes: int
    waiting_bytes: int
    fallbacks: int
    failures: int
    error: str | None


class Store(Protocol):
    """Keeps sessions. No method blocks; a future is settled in a thread of the store."""

    def commit(self, changes: Sequence[Change], *, durable: bool = False) -> Future[None]:
        """Writes all changes or none, after those of earlier calls.

        Args:
          changes: a record replaces the session, and its tombstone; a tombstone ends it.
          durable: written when even a loss of power leaves them; otherwise that may undo the last
            calls, and the end of this process none.

        Raises:
          Overloaded: in the future; too much waits to be written.
          StoreFull: in the future; nothing of it was written, and the same call may succeed later.
        """

    def read(self, key: SessionKey) -> "Future[SessionRecord | Tombstone | None]":
        """Gives the session as last written, with its `idle_s` as of now.

        Where that is damaged, the session as written before, if it is of the same stream.

        Raises:
          SessionExpired: in the future; it was written in a format of another version, or nothing
            whole is left of it.
          StoreFailed: in the future; the store cannot be read.
        """

    def page(
        self, prefix: tuple[str, ...], *, after: SessionKey | None, limit: int
    ) -> Future[list[SessionSummary]]:
        """Lists sessions by key.

        Args:
          prefix: nothing, a tenant, or a tenant and a surface.
          after: the last key of the page before.
          limit: of sessions.
        """

    def idle(self, *, longer_than_s: float, limit: int) -> Future[list[SessionSummary]]:
        """Lists sessions by idle time as of their last commit, longest first."""

    def status(self) -> StoreStatus:
        """Gives numbers for metrics."""

    def close(self, timeout_s: float) -> None:
        """Writes what waits and lets go of everything; again: does nothing."""


def bounded_groups(
    changes: Iterable[Change], *, max_bytes: int = GROUP_BYTES, max_changes: int = GROUP_CHANGES
) -> Iterator[list[Change]]:
    """Cuts many changes into groups for `Store.commit`; takes only one group at a time.

    Args:
      changes: in order.
      max_bytes: of a group; a larger change goes alone.
      max_changes: of a group.
    """
    group: list[Change] = []
    nbytes = 0
    for change in changes:
        if group and (nbytes + change.nbytes > max_bytes or len(group) == max_changes):
            yield group
            group, nbytes = [], 0
        group.append(change)
        nbytes += change.nbytes
    if group:
        yield group
