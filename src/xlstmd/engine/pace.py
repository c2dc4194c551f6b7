"""How fast a model is: measured on its latest batches, used to refuse what cannot be done."""

from collections import deque
from statistics import median
from typing import Final

WINDOW: Final = 32


class Pace:
    """Seconds that batches took, against their points."""

    def __init__(self) -> None:
        """Starts without any measurement."""
        self._batches: deque[tuple[int, float]] = deque(maxlen=WINDOW)

    def note(self, points: int, seconds: float) -> None:
        """Adds a batch."""
        self._batches.append((points, seconds))

    def at_least_s(self, points: int) -> float:
        """Gives a time that so many points will hardly undercut; 0 before the first batch."""
        if not self._batches:
            return 0.0
        shortest = min(seconds for _, seconds in self._batches)
        fastest = min(seconds / points for points, seconds in self._batches)
        return max(shortest, fastest * points)

    def expected_s(self, points: int) -> float:
        """Gives the time that so many points usually take; 0 before the first batch."""
        if not self._batches:
            return 0.0
        return points * median(seconds / points for points, seconds in self._batches)
