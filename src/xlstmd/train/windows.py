"""Training windows of real series: views of several granularities, drawn by weight and mixed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xlstmd.errors import InputError
from xlstmd.train.corpus import SOURCES, Series, Values, aggregated, training_part

_COARSER: dict[str, tuple[tuple[int, float], ...]] = {
    "5min": ((3, 1.0), (6, 0.4), (12, 0.4)),
    "30min": ((2, 0.6), (48, 0.4), (336, 0.2)),
    "h": ((24, 0.5), (168, 0.3), (730, 0.1)),
    "D": ((7, 0.3), (30, 0.3), (365, 0.1)),
    "ME": ((3, 0.5), (12, 0.35)),
}
"""Per frequency: points per block of a coarser view, and how often it is drawn against the raw."""

_SUBDAILY = frozenset({"5min", "15min", "30min", "h"})
_LONG_WINDOW = 576
_SUBDAILY_FACTOR = 2.5
_LEAST_FILLED = 0.5
_MIXED = (0.50, 0.35, 0.15)
_CONCENTRATION = 1.5
_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One series at one granularity, and how often windows are taken from it."""

    values: Values
    subdaily: bool
    weight: float


def training_views(corpus: Sequence[Series]) -> list[View]:
    """Makes all views of the training part; nothing held back enters any of them.

    Args:
      corpus: all series, as `corpus.load_corpus` returns them.
    """
    kept = training_part(corpus)
    points = dict.fromkeys((series.dataset for series in kept), 0)
    for series in kept:
        points[series.dataset] += series.values.size
    views: list[View] = []
    for series in kept:
        # A set's weight is divided among its series by their length.
        weight = SOURCES[series.dataset].weight * series.values.size / points[series.dataset]
        for block, share in ((1, 1.0), *_COARSER.get(series.freq, ())):
            values = aggregated(series.values, block)
            fine = series.freq in _SUBDAILY and block <= 12
            views.append(View(values=values, subdaily=fine, weight=weight * share))
    return views


def _standardized(window: Values) -> Values | None:
    """Gives mean 0 and deviation 1 over the observed points; None when they do not vary."""
    observed = window[np.isfinite(window)]
    if observed.size < _LEAST_FILLED * window.size:
        return None
    deviation = observed.std()
    if deviation <= 1e-6 * (1e-6 + np.abs(observed).max()):
        return None
    scaled: Values = (window - observed.mean()) / deviation
    return scaled


class WindowSource:
    """Draws windows of one length from views of real series."""

    def __init__(self, views: Sequence[View], length: int) -> None:
        """Keeps the views that fill at least half of a window.

        Args:
          views: see `training_views`.
          length: points per window.

        Raises:
          InputError: no view is long enough.
        """
        self.length = length
        self._views = [view for view in views if view.values.size >= _LEAST_FILLED * length]
        if not self._views:
            raise InputError("corpus", f"a series of {length // 2} points or more", "none")
        weights = np.array([self._weight(view) for view in self._views])
        self._edges = np.cumsum(weights)

    def _weight(self, view: View) -> float:
        if self.length < _LONG_WINDOW:
            return view.weight
        return view.weight * (_SUBDAILY_FACTOR if view.subdaily else 1.0)

    def raw(self, rng: np.random.Generator) -> Values:
        """Draws one window as it was recorded; a short series has missing points before it."""
        index = np.searchsorted(self._edges, rng.random() * self._edges[-1], side="right")
        values = self._views[int(index)].values
        room = values.size - self.length
        if room < 0:
            return np.concatenate([np.full(-room, np.nan), values])
        start = int(rng.integers(0, room + 1))
        return values[start : start + self.length]

    def _part(self, rng: np.random.Generator) -> Values:
        """Draws one standardized window that varies."""
        for _ in range(_TRIES):
            window = _standardized(self.raw(rng))
            if window is not None:
                return window
        raise InputError("corpus", "windows that vary", f"{_TRIES} constant or empty ones")

    def draw(self, rng: np.random.Generator, count: int) -> npt.NDArray[np.float32]:
        """Draws windows [count, length]: one series, or a mixture of two or three.

        Returns:
          Standardized windows, NaN = missing.

        Raises:
          InputError: hardly any window varies.

        Source: TSMixup, Ansari et al., Chronos, arXiv:2403.07815, section 4.1.
        """
        rows = np.empty((count, self.length), dtype=np.float32)
        filled = 0
        while filled < count:
            number = 1 + int(np.searchsorted(np.cumsum(_MIXED), rng.random(), side="right"))
            parts = [self._part(rng) for _ in range(number)]
            mixed = rng.dirichlet([_CONCENTRATION] * number) @ np.stack(parts)
            window = _standardized(mixed)
            if window is not None:
                rows[filled] = window
                filled += 1
        return rows
