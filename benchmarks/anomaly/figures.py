"""What is measured of a detector, with resampled corpora for the spread."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.anomaly.corpora import Bools, Corpus, Floats
from benchmarks.anomaly.nab import PROFILES, STANDARD, best_score, score_at
from benchmarks.anomaly.outliers import PrecisionRecall, count
from xlstmd.models.calibration import Calibration

# The default of a stream, and the rarest that its memory can rank.
RATES = (0.01, 0.001)

DRAWS = 1000
SEED = 0

# One for each series of a recording.
Surprises = Sequence[Floats]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A kind of figure.

    Args:
      id: stable name.
      title: short one for tables.
      unit: of the figures.
      better: which way is better; where there is a target, nearer to it is.
      target: what the figure should be.
    """

    id: str
    title: str
    unit: str
    better: Literal["higher", "lower"] = "higher"
    target: float | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the same of resampled corpora [N]."""

    value: float
    draws: Floats


NAB_MEASURES = (
    *(
        Measure(id=f"nab-{profile.name}", title=profile.name, unit="NAB score")
        for profile in PROFILES
    ),
    *(
        Measure(id=f"nab-flags-{rate:g}", title=f"flags {rate:g}", unit="NAB score")
        for rate in RATES
    ),
    *(
        Measure(id=f"nab-flagged-{rate:g}", title=f"% at {rate:g}", unit="%", target=100.0 * rate)
        for rate in RATES
    ),
)
SKAB_MEASURES = (
    Measure(id="skab-auc-pr", title="AUC-PR", unit="area"),
    *(
        measure
        for rate in RATES
        for measure in (
            Measure(id=f"skab-f1-{rate:g}", title=f"F1 {rate:g}", unit="F1"),
            Measure(id=f"skab-far-{rate:g}", title=f"FAR {rate:g}", unit="%", better="lower"),
            Measure(id=f"skab-mar-{rate:g}", title=f"MAR {rate:g}", unit="%", better="lower"),
        )
    ),
)


def nab_figures(corpus: Corpus, surprises: Sequence[Surprises]) -> dict[str, Figure]:
    """Scores a detector on NAB.

    Args:
      corpus: series with windows.
      surprises: of each recording.

    Returns:
      By the names of `NAB_MEASURES`: scores at the best threshold for each profile; scores of flags
      under the standard one; shares of flagged points outside the windows.
    """
    scores = [one for (one,) in surprises]
    labels = [recording.labels for recording in corpus.recordings]
    weights = _resampled(len(labels))
    figures = {}
    for profile in PROFILES:
        best = best_score(scores, labels, profile)
        figures[f"nab-{profile.name}"] = Figure(best.value, best.draws(weights))
    for rate in RATES:
        flags = [_flags(one, rate) for one in scores]
        scored = score_at([flag.astype(float) for flag in flags], labels, 1.0, STANDARD)
        figures[f"nab-flags-{rate:g}"] = Figure(scored.value, scored.draws(weights))
        figures[f"nab-flagged-{rate:g}"] = _figure(count(flags, labels).far, weights)
    return figures


def skab_figures(corpus: Corpus, surprises: Sequence[Surprises]) -> dict[str, Figure]:
    """Scores a detector on SKAB, a point being as surprising as the most surprising sensor is.

    Args:
      corpus: runs of several sensors with labels.
      surprises: of each run.

    Returns:
      By the names of `SKAB_MEASURES`; a point is flagged where a sensor is.
    """
    labels = [recording.labels for recording in corpus.recordings]
    weights = _resampled(len(labels))
    largest = [np.fmax.reduce(sensors) for sensors in surprises]
    figures = {"skab-auc-pr": _figure(PrecisionRecall(largest, labels).area, weights)}
    for rate in RATES:
        flags = [np.any([_flags(one, rate) for one in run], axis=0) for run in surprises]
        counts = count(flags, labels)
        for name, measure in (("f1", counts.f1), ("far", counts.far), ("mar", counts.mar)):
            figures[f"skab-{name}-{rate:g}"] = _figure(measure, weights)
    return figures


def _flags(surprises: Floats, rate: float) -> Bools:
    return Calibration().flags(surprises, rate)


def _figure(measure: Callable[[Floats], Floats], weights: Floats) -> Figure:
    whole = np.ones((1, weights.shape[1]))
    return Figure(float(measure(whole)[0]), measure(weights))


def _resampled(recordings: int) -> Floats:
    """Gives how often each recording occurs in each draw, [N, R]."""
    rng = np.random.default_rng(SEED)
    shares = np.full(recordings, 1.0 / recordings)
    return rng.multinomial(recordings, shares, size=DRAWS).astype(np.float64)
