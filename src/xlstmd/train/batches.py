"""Training batches of the forecaster: cut series, frozen scale, hidden futures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.config import ForecasterConfig
from xlstmd.models.patching import make_features, plan_tokens
from xlstmd.models.renewal import RENEW_SHARE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

# Per bucket of the pool: shortest series, longest hidden future, share of batches, rows.
_BUCKETS: dict[int, tuple[int, int, float, int]] = {
    64: (8, 24, 0.28, 320),
    160: (36, 48, 0.28, 256),
    320: (80, 64, 0.19, 160),
    576: (150, 96, 0.15, 96),
    1088: (300, 192, 0.06, 48),
    2304: (600, 384, 0.04, 24),
}

_LEAST_DEVIATION = 1e-2
_LEAST_POINTS = 4
_LONGEST_RUN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step of training needs.

    Attributes:
      features: [B, N, F].
      valid: [B, N].
      targets: [B, N, P], scaled, 0 where there is none.
      weights: [B, N, P], in units of the whole series' deviation; they sum to about 1.
    """

    features: Floats
    valid: NDArray[np.bool_]
    targets: Floats
    weights: Floats


def draw_bucket(rng: np.random.Generator, lengths: tuple[int, ...]) -> tuple[int, int]:
    """Draws a length out of those of a pool, and gives the number of rows for it."""
    shares = np.array([_BUCKETS[length][2] for length in lengths])
    length = int(rng.choice(np.array(lengths), p=shares / shares.sum()))
    return length, _BUCKETS[length][3]


def make_batch(rng: np.random.Generator, rows: Floats, config: ForecasterConfig) -> Batch:
    """Turns series into a batch; the scale never sees what is scored.

    Args:
      rng: source of all randomness.
      rows: [B, L], whole series with deviation 1, NaN = missing.
      config: of the model.
    """
    count, length = rows.shape
    patch = config.patch_length
    observed = ~np.isnan(rows)
    cuts = _draw_cuts(rng, observed, patch)
    place = np.arange(length)[None, :]
    visible = observed & (place >= cuts.start[:, None]) & (place < cuts.known[:, None])
    visible &= ~_lost(rng, count, length, patch, np.logical_not(cuts.is_forecast))
    values = np.where(observed, rows, 0.0).astype(np.float64)
    mean, scale, usable = _frozen_scale(values, visible & (place < cuts.anchor[:, None]))
    scaled = (values - mean[:, None]) / scale[:, None]

    plan = plan_tokens(cuts.start, cuts.known, -(-(length - cuts.known) // patch) - 1, patch)
    features = make_features(np.where(visible, scaled, np.nan), plan, config)
    index = plan.ends[:, :, None] + np.arange(patch)
    target = (np.arange(count)[:, None, None], np.minimum(index, length - 1))
    scored = plan.valid & (plan.ends >= cuts.anchor[:, None]) & usable[:, None]
    mask = scored[:, :, None] & (index < length) & observed[target]
    per_row = np.maximum(mask.sum(axis=(1, 2)), 1)
    weights = mask * (scale / per_row / count)[:, None, None]
    return Batch(
        features=features,
        valid=plan.valid,
        targets=np.where(mask, scaled[target], 0.0).astype(np.float32),
        weights=weights.astype(np.float32),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cuts:
    """Where each of B series is cut.

    Half of the rows are forecasts: the future is hidden, and the scale is that of the points
    before it, or of slightly fewer, as a stream's is. The others are streams: the scale is frozen
    somewhere in the last two thirds, and every token after it is scored.

    Attributes:
      start: first point that is seen.
      anchor: point after the last one that the scale sees.
      known: point after the last one that is seen.
      is_forecast: which of the two.
    """

    start: Ints
    anchor: Ints
    known: Ints
    is_forecast: NDArray[np.bool_]


def _draw_cuts(rng: np.random.Generator, observed: NDArray[np.bool_], patch: int) -> _Cuts:
    count, length = observed.shape
    shortest, longest_future, _, _ = _BUCKETS[length]
    start = np.maximum(length - rng.integers(shortest, length + 1, count), observed.argmax(axis=1))
    start = np.minimum(start, length - shortest)
    is_forecast = np.asarray(rng.random(count) < 0.5)
    room = np.minimum(longest_future, (length - start) // 2)
    hidden = 1 + (rng.random(count) * room).astype(np.int64)
    tail = np.minimum(rng.integers(1, patch + 1, count), (length - start) // 2)
    known = length - np.where(is_forecast, hidden, tail)
    span = known - start
    recent = known - (rng.random(count) * (span * RENEW_SHARE + 1)).astype(np.int64)
    anywhere = start + np.ceil(span * rng.uniform(1 / 3, 1, count)).astype(np.int64)
    anchor = np.maximum(np.where(is_forecast, recent, anywhere), start + 1)
    return _Cuts(start=start, anchor=anchor, known=known, is_forecast=is_forecast)


def _frozen_scale(
    values: NDArray[np.float64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Gives mean and deviation of what is seen, [B] each, and which rows have enough for both."""
    points = np.maximum(seen.sum(axis=1), 1)
    mean = (values * seen).sum(axis=1) / points
    deviation = np.sqrt((((values - mean[:, None]) ** 2) * seen).sum(axis=1) / points)
    usable = np.asarray((points >= _LEAST_POINTS) & (deviation > _LEAST_DEVIATION))
    return mean, np.where(usable, deviation, 1.0), usable


def _lost(
    rng: np.random.Generator, count: int, length: int, patch: int, maskable: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Draws what is hidden from the input: runs of patches in streams, single points anywhere."""
    share = rng.uniform(0.0, 0.3, (count, 1)) * (rng.random((count, 1)) < 0.1)
    lost = rng.random((count, length)) < share
    blocks = -(-length // patch)
    rate = rng.uniform(0.0, 0.4, (count, 1)) * maskable[:, None] * (rng.random((count, 1)) < 0.5)
    run = rng.integers(1, _LONGEST_RUN + 1, (count, 1))
    begins = rng.random((count, blocks)) < rate / run
    masked = begins.copy()
    for step in range(1, _LONGEST_RUN):
        masked[:, step:] |= begins[:, :-step] & (run > step)
    shift = int(rng.integers(0, patch))
    whole: NDArray[np.bool_] = np.repeat(masked, patch, axis=1)
    return lost | np.roll(whole, shift, axis=1)[:, :length]
