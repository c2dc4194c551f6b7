"""Laws of the pool on disk."""

from pathlib import Path

import numpy as np
import pytest

from xlstmd.errors import ConfigError, InputError
from xlstmd.train.corpus import data_root
from xlstmd.train.pool import Pool, build_pool

COUNTS = {64: 150, 576: 90}


def test_a_pool_gives_back_what_was_asked_for(tmp_path: Path) -> None:
    built = build_pool(tmp_path, seed=1, counts=COUNTS)
    opened = Pool(tmp_path)
    assert opened.lengths == (64, 576)
    assert opened.card["counts"] == {"64": 150, "576": 90}
    assert opened.card["real_fraction"] == 0.0
    for length, count in COUNTS.items():
        rows = opened.bucket(length)
        assert isinstance(rows, np.memmap)
        assert rows.dtype == np.float16
        assert rows.shape == (count, length)
        assert np.isfinite(rows).all()
        np.testing.assert_array_equal(rows, built.bucket(length))
        np.testing.assert_allclose(rows.astype(np.float64).std(axis=1), 1.0, atol=5e-3)


def test_the_same_seed_builds_the_same_pool_with_any_number_of_workers(tmp_path: Path) -> None:
    # Enough long series for several units of work.
    counts = {64: 50, 2304: 400}
    one = build_pool(tmp_path / "one", seed=2, counts=counts)
    two = build_pool(tmp_path / "two", seed=2, counts=counts, workers=2)
    other = build_pool(tmp_path / "other", seed=3, counts={64: 50})
    for length in counts:
        np.testing.assert_array_equal(one.bucket(length), two.bucket(length))
    assert not np.array_equal(one.bucket(64), other.bucket(64))


def test_real_windows_make_up_their_fraction_and_keep_missing_values(tmp_path: Path) -> None:
    try:
        root = data_root()
    except InputError as error:
        pytest.skip(f"needs the data folder: {error}")
    pool = build_pool(tmp_path, seed=4, counts={160: 400}, real_fraction=0.5, data_root=root)
    rows = pool.bucket(160).astype(np.float64)
    assert not np.isinf(rows).any()
    assert np.isnan(rows).any()
    # No window is mostly missing.
    assert (np.isfinite(rows).mean(axis=1) >= 0.5).all()
    np.testing.assert_allclose(np.nanstd(rows, axis=1), 1.0, atol=5e-3)


def test_draws_are_rows_of_the_bucket_and_follow_the_generator(tmp_path: Path) -> None:
    pool = build_pool(tmp_path, seed=5, counts={64: 40})
    rows = pool.draw(np.random.default_rng(1), 64, 100)
    assert rows.shape == (100, 64)
    assert rows.dtype == np.float32
    known = {row.tobytes() for row in pool.bucket(64).astype(np.float32)}
    assert all(row.tobytes() in known for row in rows)
    np.testing.assert_array_equal(rows, pool.draw(np.random.default_rng(1), 64, 100))


def test_an_incomplete_pool_is_refused(tmp_path: Path) -> None:
    build_pool(tmp_path, seed=6, counts={64: 10})
    (tmp_path / "pool.json").unlink()
    with pytest.raises(ConfigError, match=r"pool\.json"):
        Pool(tmp_path)


def test_an_absent_bucket_is_refused(tmp_path: Path) -> None:
    pool = build_pool(tmp_path, seed=7, counts={64: 10})
    with pytest.raises(ConfigError, match="length: expected one of"):
        pool.bucket(160)


@pytest.mark.parametrize(
    ("counts", "fraction"), [({}, 0.0), ({65: 3}, 0.0), ({64: 0}, 0.0), ({64: 3}, 1.0)]
)
def test_impossible_pools_are_refused(
    tmp_path: Path, counts: dict[int, int], fraction: float
) -> None:
    with pytest.raises(ConfigError, match="expected"):
        build_pool(tmp_path, seed=8, counts=counts, real_fraction=fraction)
