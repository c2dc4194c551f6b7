"""Why sessions are gone, until the store knows it."""

from collections import OrderedDict
from typing import Final

from xlstmd.engine.lane import Clock
from xlstmd.engine.session_record import Ending, SessionKey, Tombstone
from xlstmd.engine.store import TOMBSTONE_S

# Where the store takes none, or there is no store, so many are remembered.
MOST: Final = 20_000


class Tombstones:
    """Ended sessions, in the order in which they ended; the number is bounded."""

    def __init__(self, clock: Clock) -> None:
        """Starts with none.

        Args:
          clock: monotonic seconds.
        """
        self._clock = clock
        self._stones: OrderedDict[SessionKey, tuple[Tombstone, float]] = OrderedDict()

    def add(self, key: SessionKey, reason: Ending) -> Tombstone:
        """Notes that a session is gone."""
        now = self._clock()
        self._stones.pop(key, None)
        stone = Tombstone(key=key, reason=reason)
        self._stones[key] = (stone, now)
        while len(self._stones) > MOST or next(iter(self._stones.values()))[1] < now - TOMBSTONE_S:
            self._stones.popitem(last=False)
        return stone

    def find(self, key: SessionKey) -> Tombstone | None:
        """Gives the tombstone of a session."""
        stone, since = self._stones.get(key, (None, 0.0))
        return stone if stone is None or self._clock() - since <= TOMBSTONE_S else None

    def forget(self, key: SessionKey) -> None:
        """Notes that there is a session again."""
        self._stones.pop(key, None)

    def settle(self, stone: Tombstone) -> None:
        """Notes that the store has it."""
        if self._stones.get(stone.key, (None, 0.0))[0] is stone:
            del self._stones[stone.key]

    def waiting(self) -> list[Tombstone]:
        """Lists all, to be written."""
        return [stone for stone, _ in self._stones.values()]
