"""When those who find no room should come back: about as many at a time as can be served."""

import random
from collections import Counter
from typing import Final

from xlstmd.engine.batcher import JITTER
from xlstmd.engine.lane import Clock

# Callers are told whole seconds: a spread of less than some of them would be none.
LEAST_SPREAD_S: Final = 3.0

# How fast a rush is served is first measured when it is at its worst: nobody waits longer for that.
MOST_SPREAD_S: Final = 15.0

# So long nobody was refused, and another rush begins with the next one who is.
_CALM_S: Final = 5.0

# Of a shorter time it cannot be said how fast requests are done.
_MEASURED_S: Final = 1.0


class SessionRush:
    """Who was sent away until when, and how fast those who are served are done meanwhile."""

    def __init__(self, clock: Clock) -> None:
        """Starts with nobody.

        Args:
          clock: monotonic seconds.
        """
        self._clock = clock
        self._back: Counter[int] = Counter()
        self._began = self._refused_at = -_CALM_S
        self._done = 0

    def note_done(self) -> None:
        """Notes that a request was served, well or not."""
        self._done += 1

    def send_away(self, least_s: float) -> float:
        """Gives the seconds after which somebody should come back.

        Callers refused together do not come back together: they are spread over the time in which
        all who are away can be served.

        Args:
          least_s: nobody should come sooner.
        """
        now = self._clock()
        if now - self._refused_at >= _CALM_S:
            self._began, self._done = now, 0
        self._refused_at = now
        for second in [second for second in self._back if second < now]:
            del self._back[second]
        wait = least_s + self._spread_s(now, least_s) * random.random()
        self._back[int(now + wait)] += 1
        return wait

    def _spread_s(self, now: float, least_s: float) -> float:
        spread, measured = max(JITTER * least_s, LEAST_SPREAD_S), now - self._began
        if measured < _MEASURED_S or not self._done:
            return spread
        needed = self._back.total() * measured / self._done
        return max(spread, min(needed, MOST_SPREAD_S))
