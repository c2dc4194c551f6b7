"""The score of the Numenta Anomaly Benchmark.

Within each labeled window only the earliest detection counts, the more the earlier it is; a missed
window costs, and so does every detection outside, less so soon after a window. The first 15 % of a
file (750 points at most) are for learning. One threshold for the whole corpus, the best one, is
part of the definition; the sum is scaled so that no detection at all is 0 and perfection 100.

Source: Lavin and Ahmad, 2015, arXiv:1510.03336, section II; positions within and behind windows
and weights of the profiles as the corpus 1.0 is scored.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.anomaly.corpora import Bools, Floats

PROBATION = 0.15
LONGEST_PROBATION = 750

# Beyond so many widths behind a window a false alarm costs in full.
FAR_BEHIND = 3.0

STEEPNESS = 5.0


@dataclass(frozen=True, slots=True)
class Profile:
    """What the parts of a score weigh; a detection at a window's start gains 1."""

    name: str
    false_alarm: float
    missed: float


STANDARD = Profile("standard", false_alarm=0.11, missed=1.0)
LOW_FALSE_ALARMS = Profile("low-fp", false_alarm=0.22, missed=1.0)
LOW_MISSES = Profile("low-fn", false_alarm=0.11, missed=2.0)
PROFILES = (STANDARD, LOW_FALSE_ALARMS, LOW_MISSES)


@dataclass(frozen=True, slots=True)
class NabScore:
    """Score of a detector on a corpus.

    Args:
      threshold: at and above which points are detections.
      gains: [F], what each file adds to the score of no detection.
      perfect: [F], the largest such gain.
    """

    threshold: float
    gains: Floats
    perfect: Floats

    @property
    def value(self) -> float:
        """Gives the score, at most 100."""
        return float(100.0 * self.gains.sum() / self.perfect.sum())

    def draws(self, weights: Floats) -> Floats:
        """Gives the scores of corpora in which files occur `weights` [N, F] times."""
        return 100.0 * (weights @ self.gains) / (weights @ self.perfect)


def best_score(scores: Sequence[Floats], labels: Sequence[Bools], profile: Profile) -> NabScore:
    """Scores a detector at the threshold that suits it best over all files.

    Args:
      scores: [T] for each file, larger is more anomalous; NaN is no score.
      labels: [T] for each file.
      profile: of weights.
    """
    parts = [_steps(*file, profile) for file in zip(scores, labels, strict=True)]
    places = np.concatenate([places for places, _ in parts])
    steps = np.concatenate([steps for _, steps in parts])
    order = np.argsort(-places, kind="stable")
    places, totals = places[order], np.cumsum(steps[order])
    # Equal scores are detections together.
    totals = np.where(np.append(places[1:] != places[:-1], True), totals, -np.inf)
    best = int(totals.argmax())
    # Above all scores there is no detection.
    threshold = float(places[best]) if totals[best] > 0.0 else np.inf
    return score_at(scores, labels, threshold, profile)


def score_at(
    scores: Sequence[Floats], labels: Sequence[Bools], threshold: float, profile: Profile
) -> NabScore:
    """Scores a detector at a threshold."""
    gains, perfect = [], []
    for file, windows in zip(scores, labels, strict=True):
        places, steps = _steps(file, windows, profile)
        gains.append(steps[places >= threshold].sum())
        perfect.append(len(_windows(windows)) * (1.0 + profile.missed))
    return NabScore(threshold, np.array(gains), np.array(perfect))


def _steps(scores: Floats, labels: Bools, profile: Profile) -> tuple[Floats, Floats]:
    """Gives, for falling thresholds, at which scores a file's gain changes, and by how much."""
    length = len(labels)
    probation = min(int(PROBATION * length), LONGEST_PROBATION)
    index = np.arange(length)
    judged = (index >= probation) & ~np.isnan(scores)
    windows = _windows(labels)
    cost = np.full(length, -1.0)
    for start, end in windows:
        # Until the next window starts, costs are taken from this one.
        cost[end + 1 :] = _sigmoid((index[end + 1 :] - end) / (end - start))
    outside = judged & ~labels
    places, steps = [scores[outside]], [profile.false_alarm * cost[outside]]
    for start, end in windows:
        inside = judged & (index >= start) & (index <= end)
        earliness = (end - index[inside] + 1) / (end - start + 1)
        gain = _sigmoid(-earliness) / _sigmoid(np.array(-1.0))
        order = np.argsort(-scores[inside], kind="stable")
        # The best of what is detected so far; a miss before.
        reached = np.maximum.accumulate(gain[order])
        places.append(scores[inside][order])
        steps.append(np.diff(reached, prepend=-profile.missed))
    return np.concatenate(places), np.concatenate(steps)


def _windows(labels: Bools) -> list[tuple[int, int]]:
    """Gives first and last point of each run of labels."""
    edges = np.diff(labels.astype(np.int8), prepend=0, append=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _sigmoid(place: Floats) -> Floats:
    """Gives 1 far before the end of a window, 0 at it, -1 far behind; in widths of the window."""
    value = 2.0 / (1.0 + np.exp(STEEPNESS * np.minimum(place, FAR_BEHIND))) - 1.0
    return np.where(place > FAR_BEHIND, -1.0, value)
