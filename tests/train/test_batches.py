"""What a training batch may and may not show."""

import numpy as np
import pytest

from xlstmd.models import presets
from xlstmd.train.batches import draw_bucket, make_batch
from xlstmd.train.generators import mixture

CONFIG = presets.small()


def batch_of(length, seed=0, rows=64):
    rng = np.random.default_rng(seed)
    return make_batch(rng, mixture.generate(rng, rows, length), CONFIG)


@pytest.mark.parametrize("length", [64, 160, 320, 576, 1088, 2304])
def test_shapes_and_weights(length):
    batch = batch_of(length)
    rows, tokens, patch = batch.targets.shape
    assert batch.features.shape == (rows, tokens, CONFIG.num_features)
    assert patch == CONFIG.patch_length
    assert np.isfinite(batch.features).all()
    assert np.isfinite(batch.targets).all()
    assert (batch.weights >= 0).all()
    assert 0.2 < batch.weights.sum() < 3.0
    assert (batch.weights[~batch.valid] == 0).all()
    # Padding is on the left: once valid, always valid.
    assert (np.diff(batch.valid.astype(int), axis=1) >= 0).all()


def test_no_token_sees_what_it_is_scored_on():
    """A change of everything scored changes no feature of the tokens that are scored first."""
    rng = np.random.default_rng(1)
    rows = mixture.generate(rng, 128, 160)
    plain = make_batch(np.random.default_rng(2), rows, CONFIG)
    scored = plain.weights > 0
    first = scored.any(axis=2).argmax(axis=1)
    for row in np.flatnonzero(scored.any(axis=(1, 2)))[:40]:
        # All points of the last patch are targets; those of the last row's end surely are.
        changed = rows.copy()
        last = int(scored[row, -1].sum())
        if not last:
            continue
        changed[row, -last:] += 5.0
        other = make_batch(np.random.default_rng(2), changed, CONFIG)
        np.testing.assert_array_equal(
            other.features[row, : first[row] + 1], plain.features[row, : first[row] + 1]
        )


def test_missing_points_are_never_scored():
    rng = np.random.default_rng(3)
    rows = mixture.generate(rng, 32, 320)
    rows[:, ::2] = np.nan
    batch = make_batch(rng, rows, CONFIG)
    assert ((batch.weights > 0).sum(axis=2) <= CONFIG.patch_length // 2).all()


def test_same_seed_gives_same_batch():
    first, second = batch_of(576, seed=5), batch_of(576, seed=5)
    np.testing.assert_array_equal(first.features, second.features)
    np.testing.assert_array_equal(first.targets, second.targets)


def test_buckets_come_from_the_pool():
    rng = np.random.default_rng(0)
    drawn = {draw_bucket(rng, (64, 320))[0] for _ in range(50)}
    assert drawn == {64, 320}
