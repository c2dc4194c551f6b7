"""The two scores of the Chronos-ZS tasks, by the rules of the fev evaluation library.

Rules (https://github.com/autogluon/fev, `src/fev/metrics.py`):

* MASE: each series' scale is the mean absolute difference at the lag of the season over its whole
  history, missing values ignored; the score is one plain mean of `abs error / scale` over all
  series and steps, where undefined and infinite terms are left out.
* WQL: pinball loss times two, averaged over series and steps, divided by the mean absolute truth
  over the same points, then averaged over the levels. For a point forecast (every quantile equal to
  the point, levels symmetric) it is `sum abs error / sum abs truth`.
* Joined over tasks: geometric mean of the ratios to the seasonal naive forecast.

Both scores are ratios of sums over series, so a `SeriesScores` keeps one addend of each sum per
series; scores, sub-sets and bootstrap draws all come from it.

Axes: S series, Z steps of the horizon, Q quantile levels, N bootstrap draws, K tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

QUANTILE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, slots=True)
class SeriesScores:
    """What each series adds to the sums of which MASE and WQL are made; all fields `[S]`."""

    scaled_error_sum: Floats
    scaled_error_count: Floats
    quantile_loss_sum: Floats
    magnitude_sum: Floats

    @property
    def mase(self) -> float:
        """Gives the mean absolute scaled error over all series and steps."""
        return _ratio(self.scaled_error_sum.sum(), self.scaled_error_count.sum()).item()

    @property
    def wql(self) -> float:
        """Gives the weighted quantile loss over all series and steps."""
        return _ratio(self.quantile_loss_sum.sum(), self.magnitude_sum.sum()).item()

    def resampled(self, counts: Floats) -> tuple[Floats, Floats]:
        """Scores samples of the series.

        Args:
          counts: `[N, S]`, how often each series occurs in each draw.

        Returns:
          MASE and WQL of each draw, `[N]` each.
        """
        return (
            _ratio(counts @ self.scaled_error_sum, counts @ self.scaled_error_count),
            _ratio(counts @ self.quantile_loss_sum, counts @ self.magnitude_sum),
        )


def score_series(
    truth: Floats, point: Floats, quantiles: Floats, *, levels: Sequence[float], scale: Floats
) -> SeriesScores:
    """Scores forecasts series by series.

    Args:
      truth: `[S, Z]`, NaN where nothing was observed.
      point: `[S, Z]`, the forecast that MASE judges: the median.
      quantiles: `[S, Z, Q]`, the forecast that WQL judges.
      levels: the Q levels of `quantiles`.
      scale: `[S]` from `seasonal_scale`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.abs(truth - point) / scale[:, None]
    counted = np.isfinite(scaled)
    loss = quantile_loss(truth, quantiles, levels).mean(axis=2)
    observed = np.isfinite(loss)
    return SeriesScores(
        scaled_error_sum=np.where(counted, scaled, 0.0).sum(axis=1),
        scaled_error_count=counted.sum(axis=1).astype(np.float64),
        quantile_loss_sum=np.where(observed, loss, 0.0).sum(axis=1),
        magnitude_sum=np.where(observed, np.abs(truth), 0.0).sum(axis=1),
    )


def quantile_loss(truth: Floats, quantiles: Floats, levels: Sequence[float]) -> Floats:
    """Gives the pinball loss times two, `[S, Z, Q]`; NaN where truth or forecast is missing."""
    above = truth[:, :, None] - quantiles
    level = np.asarray(levels, dtype=np.float64)
    return 2.0 * np.maximum(level * above, (level - 1.0) * above)


def seasonal_scale(histories: Sequence[Floats], season: int) -> Floats:
    """Gives each history's mean absolute difference at a lag of `season` points.

    Pairs with a missing member do not count; a history without a complete pair has scale NaN, a
    constant one has 0, and the terms of both are left out of MASE.

    Args:
      histories: S series of any lengths, NaN = missing.
      season: lag in points, at least 1.
    """
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    if lengths.sum() <= season:
        return np.full(len(lengths), np.nan)
    values = np.concatenate([np.asarray(history, dtype=np.float64) for history in histories])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    difference = np.abs(values[season:] - values[:-season])
    # A pair across the border of two histories is no pair.
    complete = (owner[season:] == owner[:-season]) & ~np.isnan(difference)
    owner = owner[season:][complete]
    total = np.bincount(owner, weights=difference[complete], minlength=len(lengths))
    pairs = np.bincount(owner, minlength=len(lengths)).astype(np.float64)
    return _ratio(total.astype(np.float64), pairs)


def seasonal_naive(histories: Sequence[Floats], horizon: int, season: int) -> Floats:
    """Repeats the last season of each history, `[S, Z]`.

    A missing value is replaced by the newest observed one of the same phase, and where a phase was
    never observed by the newest observed value at all. A history with nothing observed gives NaN.
    """
    periods = max(1, -(-max(len(history) for history in histories) // season))
    padded = np.full((len(histories), periods * season), np.nan)
    for row, history in zip(padded, histories, strict=True):
        row[len(row) - len(history) :] = history
    newest = _newest_observed(padded)
    by_phase = _newest_observed(padded.reshape(len(histories), periods, season).swapaxes(1, 2))
    by_phase = np.where(np.isnan(by_phase), newest[:, None], by_phase)
    return by_phase[:, np.arange(horizon) % season]


def repeat_as_quantiles(point: Floats, num_levels: int) -> Floats:
    """Turns a point forecast `[S, Z]` into one with all quantiles at the point, `[S, Z, Q]`."""
    return np.repeat(point[:, :, None], num_levels, axis=2)


def coverage(truth: Floats, quantiles: Floats) -> Floats:
    """Gives the share of observed truths below each quantile, `[Q]`.

    A truth equal to its quantile counts half, so that counts and constant series, where both often
    coincide, do not make a calibrated forecast look too high.
    """
    observed = ~np.isnan(truth)
    inside = truth[observed][:, None]
    limits = quantiles[observed]
    return np.asarray(((inside < limits) + 0.5 * (inside == limits)).mean(axis=0))


def geometric_mean(ratios: Floats, axis: int = 0) -> Floats:
    """Gives the geometric mean along an axis."""
    return np.asarray(np.exp(np.log(ratios).mean(axis=axis)))


def bootstrap_ratios(
    scores: SeriesScores, baseline: SeriesScores, *, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Gives the ratios of MASE and WQL to a baseline under resampling of the series.

    Both sides see the same draws, so what makes a sample hard for both cancels.

    Args:
      scores: of the forecast that is judged, S series.
      baseline: of the seasonal naive forecast on the same S series.
      draws: number N of samples; each has S series, drawn with replacement.
      rng: source of the draws.

    Returns:
      Ratios of MASE and of WQL, `[N]` each.
    """
    num_series = len(scores.magnitude_sum)
    shares = np.full(num_series, 1.0 / num_series)
    counts = rng.multinomial(num_series, shares, size=draws).astype(np.float64)
    mase, wql = scores.resampled(counts)
    baseline_mase, baseline_wql = baseline.resampled(counts)
    return _ratio(mase, baseline_mase), _ratio(wql, baseline_wql)


def _newest_observed(values: Floats) -> Floats:
    """Gives the last value of the last axis that is not NaN; NaN where there is none."""
    observed = ~np.isnan(values[..., ::-1])
    index = values.shape[-1] - 1 - observed.argmax(axis=-1)
    return np.take_along_axis(values, index[..., None], axis=-1)[..., 0]


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Divides without a warning: 0/0 is NaN, x/0 is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.divide(numerator, denominator), dtype=np.float64)
