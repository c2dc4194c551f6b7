"""Detectors: a series in, a surprise for each point out, from nothing but the points before it.

Those with a forecast of one number take its errors as Gaussian, around zero, as wide as the last
512 of them were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
from scipy.special import erfc, log_ndtr

from benchmarks.anomaly.corpora import Floats
from benchmarks.harness import BenchmarkError

# Points that a spread is taken over, and that a model is fitted to.
LOOK_BACK = 512

# Points before a spread means anything; ours has its first forecast after as many.
WARM_UP = 32

# Points between two fits of a statistical model.
REFIT = 256

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector.

    Args:
      id: stable name.
      title: with version and setting.
      surprises: takes a series and its season in points; gives surprises, NaN where there is none.
    """

    id: str
    title: str
    surprises: Callable[[Floats, int], Floats]


def forecaster(model: Any) -> Detector:
    """Gives a forecaster of ours as a detector; each series is one stream."""

    def surprises(values: Floats, _season: int) -> Floats:
        scores: Floats = model.stream().score(values).surprise
        return scores

    return Detector("xlstmd", f"xlstmd {model.identity}", surprises)


def rolling_z_score() -> Detector:
    """Gives the distance from the mean of the last 512 points, by their deviation."""

    def surprises(values: Floats, _season: int) -> Floats:
        mean, spread = _moments(values)
        return _surprises(values - mean, spread)

    return Detector("rolling-z-score", f"mean and deviation of {LOOK_BACK} points", surprises)


def seasonal_naive() -> Detector:
    """Gives the difference from the point one season before."""

    def surprises(values: Floats, season: int) -> Floats:
        forecast = np.full(len(values), np.nan)
        forecast[season:] = values[:-season]
        return _errors(values - forecast)

    return Detector("seasonal-naive", "value one season before", surprises)


def auto_ets() -> Detector:
    """Gives errors one step ahead of `AutoETS`, fitted each 256 points to the last 512.

    Raises:
      BenchmarkError: the package is not installed.
    """
    if find_spec("statsforecast") is None:
        raise BenchmarkError("statsforecast is not here: pip install 'xlstmd[bench-anomaly]'")
    from statsforecast.models import AutoETS

    def surprises(values: Floats, _season: int) -> Floats:
        errors = np.full(len(values), np.nan)
        for start in range(2 * WARM_UP, len(values), REFIT):
            first, block = max(start - LOOK_BACK, 0), slice(start, start + REFIT)
            model = AutoETS(season_length=1).fit(values[first:start])
            # Parameters of the fit, levels from all points before each one.
            known = model.forward(values[first : block.stop], h=1, fitted=True)["fitted"]
            errors[block] = values[block] - known[start - first :]
        return _errors(errors)

    title = f"statsforecast {version('statsforecast')} AutoETS, fitted each {REFIT} points"
    return Detector("auto-ets", title, surprises)


def windowed_gaussian(values: Floats) -> Floats:
    """Gives the scores of NAB's detector of that name, to prove that NAB's score is computed right.

    Mean and deviation of the last 6400 points, moved on by 100 points at a time; until there are as
    many, of all. The published run rounded to 12 digits.
    """
    window, step = 6400, 100
    scores = np.zeros(len(values))
    mean, spread = 0.0, 1.0
    for index, value in enumerate(values):
        if index:
            distance = abs(value - mean) / spread
            scores[index] = 1.0 - 0.5 * erfc(distance / np.sqrt(2.0))
        known = index + 1
        if known <= window or (known - window) % step == 0:
            past = values[max(known - window, 0) : known]
            mean, spread = past.mean(), past.std() or 1e-6
    return np.round(scores, 12)


def _errors(errors: Floats) -> Floats:
    """Gives the surprise of forecast errors [T]; NaN where there was no forecast."""
    first = int(np.isnan(errors).sum())
    result = np.full(len(errors), np.nan)
    mean, spread = _moments(errors[first:])
    result[first:] = _surprises(errors[first:], np.hypot(mean, spread))
    return result


def _moments(values: Floats) -> tuple[Floats, Floats]:
    """Gives mean and deviation of the last 512 values before each one; NaN for the first few."""
    mean, spread = np.full((2, len(values)), np.nan)
    padded = np.concatenate([np.full(LOOK_BACK, np.nan), values])
    for start in range(WARM_UP, len(values), _BLOCK):
        stop = min(start + _BLOCK, len(values))
        past = np.lib.stride_tricks.sliding_window_view(
            padded[start : stop + LOOK_BACK - 1], LOOK_BACK
        )
        mean[start:stop], spread[start:stop] = np.nanmean(past, axis=1), np.nanstd(past, axis=1)
    return mean, spread


def _surprises(distance: Floats, spread: Floats) -> Floats:
    """Gives -ln of a Gaussian's tail; a distance without any spread counts as 1e9 spreads."""
    moved = np.where(distance == 0.0, 0.0, 1e9)
    known = np.where(spread > 0.0, spread, 1.0)
    away = np.where(spread > 0.0, np.minimum(np.abs(distance) / known, 1e9), moved)
    result: Floats = np.where(np.isnan(spread), np.nan, -log_ndtr(-away))
    return result
