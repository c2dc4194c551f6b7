"""Times candidates in turns: each turn runs every one of them, so that a slow minute hits all."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A sample below this would be read off the clock's noise: short calls are repeated within it.
SAMPLE_SECONDS = 5e-3
# Thread pools of the candidate before may still spin; they fall asleep in this time.
PAUSE_SECONDS = 5e-3
# Up to this length a call is run once untimed in its turn, so that it finds its own cache.
SHORT_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is timed.

    Args:
      seconds: for all turns of one piece of work.
      least: turns, even where that takes longer.
      most: turns, even where there is time left.
    """

    seconds: float = 20.0
    least: int = 7
    most: int = 200

    def turns(self, seconds_per_turn: float) -> int:
        """Gives how many turns fit."""
        fit = math.floor(self.seconds / max(seconds_per_turn, 1e-9))
        return min(max(fit, self.least), self.most)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call of one candidate, one sample a turn."""

    samples: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Seconds per call."""
        return float(np.median(self.samples))

    @property
    def quartiles(self) -> tuple[float, float]:
        """The middle half of the samples."""
        low, high = np.percentile(self.samples, (25.0, 75.0))
        return float(low), float(high)

    def times_faster(self, peer: "Timing") -> tuple[float, tuple[float, float]]:
        """Gives the ratio of the peer's median to ours, and the middle half of the turns' ratios.

        The spread is of pairs from one turn: what slows the machine down slows both.
        """
        low, high = np.percentile(peer.samples / self.samples, (25.0, 75.0))
        value = peer.median / self.median
        return value, (min(float(low), value), max(float(high), value))


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    budget: Budget,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> dict[str, Timing]:
    """Times all candidates, in an order that turns round each turn.

    Args:
      candidates: label to call; what must not be timed, as compilation, has happened already.
      budget: how many turns.
      clock: seconds.
      pause: waits.
    """
    guesses = {label: _once(call, 1, clock) for label, call in candidates.items()}
    counts = {label: max(1, math.ceil(SAMPLE_SECONDS / t)) for label, t in guesses.items()}
    warm = {label: t < SHORT_SECONDS for label, t in guesses.items()}
    cost = sum(t * (counts[label] + warm[label]) for label, t in guesses.items())
    samples: dict[str, list[float]] = {label: [] for label in candidates}
    order = list(candidates)
    gc.collect()
    gc.disable()
    try:
        for _ in range(budget.turns(cost + PAUSE_SECONDS * len(order))):
            for label in order:
                pause(PAUSE_SECONDS)
                if warm[label]:
                    candidates[label]()
                samples[label].append(_once(candidates[label], counts[label], clock))
            order.reverse()
    finally:
        gc.enable()
    return {label: Timing(np.array(found)) for label, found in samples.items()}


def _once(call: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(count):
        call()
    return max((clock() - start) / count, 1e-9)
