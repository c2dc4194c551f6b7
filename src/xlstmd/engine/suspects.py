"""Whoever broke the model again and again: they go alone, so that nobody else pays for them."""

from collections import OrderedDict
from collections.abc import Collection, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from xlstmd.engine.lane import Clock
from xlstmd.errors import ModelFailed

K = TypeVar("K", bound=Hashable)

# What the model failed on so often in a row goes alone the next time, until it goes well.
FAILURES: Final = 3

# What was there so often when a worker ended goes alone, whatever goes well, until it is forgotten.
DEATHS: Final = 3

# What has ended the worker so often while it was alone is refused for a while.
CRASHES: Final = 2
SHORTEST_S: Final = 60.0
LONGEST_S: Final = 3600.0

# Nothing is held against anybody for longer.
REMEMBERED_S: Final = 3600.0

# The oldest ones are forgotten beyond it: whoever breaks the model again comes back.
MOST: Final = 4096


@dataclass(slots=True)
class _Record:
    failures: int = 0
    deaths: int = 0
    crashes: int = 0
    is_alone: bool = False
    noted_at: float = 0.0
    refused_until: float = 0.0


class Suspects(Generic[K]):
    """What is held against sessions, or against series, by a key of theirs."""

    def __init__(self, clock: Clock) -> None:
        """Starts with nothing against anybody.

        Args:
          clock: monotonic seconds.
        """
        self._clock = clock
        self._records: OrderedDict[K, _Record] = OrderedDict()

    def __bool__(self) -> bool:
        """Says whether there is anything against anybody."""
        while self._records:
            key, oldest = next(iter(self._records.items()))
            if self._clock() - oldest.noted_at <= REMEMBERED_S:
                return True
            del self._records[key]
        return False

    @property
    def alone(self) -> int:
        """How many go alone."""
        return sum(record.is_alone for record in self._records.values())

    def is_alone(self, key: K) -> bool:
        """Says whether somebody may share no batch."""
        record = self._records.get(key)
        return record is not None and record.is_alone

    def check(self, key: K, field: str) -> None:
        """Refuses what would end the worker once more.

        Args:
          key: of whoever asks.
          field: of the request, for the error.

        Raises:
          ModelFailed: it is refused for a while.
        """
        record = self._records.get(key)
        if record is not None and self._clock() < record.refused_until:
            left = record.refused_until - self._clock()
            got = f"what ended it {record.crashes} times, refused for {left:.0f} s"
            raise ModelFailed(field, "what the model's worker outlives", got)

    def note_success(self, key: K) -> None:
        """Clears somebody of all but the ends of workers."""
        record = self._records.get(key)
        if record is None:
            return
        if not record.deaths or self._clock() - record.noted_at > REMEMBERED_S:
            del self._records[key]
            return
        record.failures = 0
        record.is_alone = record.deaths >= DEATHS

    def note_failure(self, key: K) -> None:
        """Notes that the model failed on what somebody asked."""
        record = self._record(key)
        record.failures += 1
        record.is_alone = record.is_alone or record.failures >= FAILURES

    def note_crash(self, keys: Collection[K]) -> None:
        """Notes that the worker ended over a batch of these."""
        now = self._clock()
        for key in keys:
            record = self._record(key)
            record.is_alone = True
            record.deaths += 1
            if len(keys) == 1:
                record.crashes += 1
                beyond = record.crashes - CRASHES
                if beyond >= 0:
                    record.refused_until = now + min(SHORTEST_S * 2.0**beyond, LONGEST_S)

    def _record(self, key: K) -> _Record:
        record = self._records.setdefault(key, _Record())
        record.noted_at = self._clock()
        self._records.move_to_end(key)
        if len(self._records) > MOST:
            self._records.popitem(last=False)
        return record
