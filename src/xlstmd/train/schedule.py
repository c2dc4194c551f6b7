"""Learning rate over a run that is bounded by time."""

import math


def cosine_by_time(elapsed: float, total: float, step: int, *, warm_up: int, floor: float) -> float:
    """Gives the factor of the learning rate.

    Progress is measured in time, so that a run on a slow or busy machine ends annealed too.

    Args:
      elapsed: seconds of training so far.
      total: seconds of the whole run.
      step: number of the step, from 0.
      warm_up: steps until the full rate.
      floor: factor at the end.
    """
    progress = min(elapsed / total, 1.0)
    cosine = floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    return min((step + 1) / warm_up, 1.0) * cosine
