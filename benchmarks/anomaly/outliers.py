"""Scores of points as outliers: what SKAB reports, and the area under precision over recall.

Source: Katser and Kozitsin, "Skoltech Anomaly Benchmark (SKAB)", 2020: all points of all runs
count alike; FAR = false alarms / normal points, MAR = missed points / anomalous points. Area:
average precision, Davis and Goadrich, "The relationship between precision-recall and ROC curves",
2006.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.anomaly.corpora import Bools, Floats


@dataclass(frozen=True, slots=True)
class Counts:
    """Points of R runs: flagged and anomalous, flagged or anomalous alone, neither, [R] each."""

    hits: Floats
    false_alarms: Floats
    missed: Floats
    quiet: Floats

    def f1(self, weights: Floats) -> Floats:
        """Gives F1 of sets in which runs occur `weights` [N, R] times, `[N]`."""
        hits = 2.0 * weights @ self.hits
        return hits / (hits + weights @ self.false_alarms + weights @ self.missed)

    def far(self, weights: Floats) -> Floats:
        """Gives the share of normal points that are flagged, in %, `[N]`."""
        false_alarms = weights @ self.false_alarms
        return 100.0 * false_alarms / (false_alarms + weights @ self.quiet)

    def mar(self, weights: Floats) -> Floats:
        """Gives the share of anomalous points that are not flagged, in %, `[N]`."""
        missed = weights @ self.missed
        return 100.0 * missed / (missed + weights @ self.hits)


def count(flags: Sequence[Bools], labels: Sequence[Bools]) -> Counts:
    """Counts the points of each run."""
    pairs = list(zip(flags, labels, strict=True))
    return Counts(
        hits=np.array([float((flag & label).sum()) for flag, label in pairs]),
        false_alarms=np.array([float((flag & ~label).sum()) for flag, label in pairs]),
        missed=np.array([float((~flag & label).sum()) for flag, label in pairs]),
        quiet=np.array([float((~flag & ~label).sum()) for flag, label in pairs]),
    )


class PrecisionRecall:
    """Precision over recall of scores, over all runs together."""

    def __init__(self, scores: Sequence[Floats], labels: Sequence[Bools]) -> None:
        """Puts the points of all runs in order; a NaN is below every score."""
        line = np.concatenate([np.nan_to_num(score, nan=-np.inf) for score in scores])
        order = np.argsort(-line, kind="stable")
        line = line[order]
        self._labels = np.concatenate(labels)[order]
        self._runs = np.repeat(np.arange(len(labels)), [len(label) for label in labels])[order]
        # Equal scores are flagged together.
        self._last = np.append(line[1:] != line[:-1], True)

    def area(self, weights: Floats) -> Floats:
        """Gives the areas of sets in which runs occur `weights` [N, R] times, `[N]`."""
        return np.array([self._area(row[self._runs]) for row in weights])

    def _area(self, weights: Floats) -> float:
        hits = np.cumsum(weights * self._labels)[self._last]
        flagged = np.cumsum(weights)[self._last]
        # Points of runs that do not occur come before any flag: they find nothing.
        precision = hits / np.maximum(flagged, 1.0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])
