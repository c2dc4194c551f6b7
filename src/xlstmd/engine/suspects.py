"""Sessions whose steps broke the model: they go alone, so that nobody pays for them but they."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from xlstmd.engine.lane import Clock
from xlstmd.engine.session_record import SessionKey
from xlstmd.errors import ModelFailed

# Steps in a row on which the model failed, until the session's next one goes alone.
FAILURES: Final = 3

# Times that a session alone has ended the worker, until its steps are refused for a while.
CRASHES: Final = 2
SHORTEST_S: Final = 60.0
LONGEST_S: Final = 3600.0

# The oldest ones are forgotten beyond it: whoever breaks the model again comes back.
MOST: Final = 4096


@dataclass(slots=True)
class _Record:
    failures: int = 0
    is_alone: bool = False
    crashes: int = 0
    refused_until: float = 0.0


class Suspects:
    """What is held against sessions; one step that goes well clears a session of all of it."""

    def __init__(self, clock: Clock) -> None:
        """Starts with nothing against anybody.

        Args:
          clock: monotonic seconds.
        """
        self._clock = clock
        self._records: OrderedDict[SessionKey, _Record] = OrderedDict()

    def __len__(self) -> int:
        """Gives the number of sessions that go alone."""
        return sum(record.is_alone for record in self._records.values())

    def is_alone(self, key: SessionKey) -> bool:
        """Says whether a session's step may share no batch."""
        record = self._records.get(key)
        return record is not None and record.is_alone

    def check(self, key: SessionKey) -> None:
        """Refuses a step that would end the worker once more.

        Raises:
          ModelFailed: the session is refused for a while.
        """
        record = self._records.get(key)
        if record is not None and self._clock() < record.refused_until:
            left = record.refused_until - self._clock()
            got = f"one of a session that ended it {record.crashes} times, refused for {left:.0f} s"
            raise ModelFailed("append", "a step that the model's worker outlives", got)

    def note_success(self, key: SessionKey) -> None:
        """Clears a session."""
        if self._records:
            self._records.pop(key, None)

    def note_failure(self, key: SessionKey) -> None:
        """Notes that the model failed on a session's step."""
        record = self._record(key)
        record.failures += 1
        record.is_alone = record.is_alone or record.failures >= FAILURES

    def note_crash(self, keys: Iterable[SessionKey]) -> None:
        """Notes that the worker ended while it had these sessions' steps."""
        keys = tuple(keys)
        for key in keys:
            record = self._record(key)
            if len(keys) == 1:
                record.crashes += 1
                beyond = record.crashes - CRASHES
                if beyond >= 0:
                    refused_s = min(SHORTEST_S * 2.0**beyond, LONGEST_S)
                    record.refused_until = self._clock() + refused_s
            record.is_alone = True

    def _record(self, key: SessionKey) -> _Record:
        record = self._records.setdefault(key, _Record())
        self._records.move_to_end(key)
        if len(self._records) > MOST:
            self._records.popitem(last=False)
        return record
