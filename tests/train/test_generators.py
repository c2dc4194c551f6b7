"""Laws of the synthetic series."""

import numpy as np
import pytest

from xlstmd.train.generators import mixture, subdaily, tourism, yearly
from xlstmd.train.generators.periods import BUCKETS, PERIODS, draw_periods, second_periods
from xlstmd.train.generators.recursions import delayed, first_order, seasonal, second_order
from xlstmd.train.generators.rows import pick, standardized

FAMILIES_AT = [(name, length) for length in BUCKETS for name in mixture.shares(length)]


@pytest.mark.parametrize(("name", "length"), FAMILIES_AT)
def test_every_family_gives_finite_rows_of_the_asked_shape(name: str, length: int) -> None:
    rows = mixture.FAMILIES[name](np.random.default_rng(3), 24, length)
    assert rows.shape == (24, length)
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(("name", "length"), FAMILIES_AT)
def test_most_rows_of_every_family_are_usable(name: str, length: int) -> None:
    rows = mixture.FAMILIES[name](np.random.default_rng(4), 100, length)
    assert mixture.usable(standardized(rows)).mean() > 0.75


@pytest.mark.parametrize("length", BUCKETS)
def test_a_mixture_is_standardized_finite_and_never_constant(length: int) -> None:
    rows = mixture.generate(np.random.default_rng(5), 150, length)
    assert rows.shape == (150, length)
    assert rows.dtype == np.float32
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows.mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_allclose(rows.std(axis=1), 1.0, atol=1e-3)


@pytest.mark.parametrize("length", BUCKETS)
def test_the_same_seed_gives_the_same_series_and_another_seed_others(length: int) -> None:
    first = mixture.generate(np.random.default_rng(6), 40, length)
    again = mixture.generate(np.random.default_rng(6), 40, length)
    other = mixture.generate(np.random.default_rng(7), 40, length)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_no_two_series_of_a_batch_are_equal() -> None:
    rows = mixture.generate(np.random.default_rng(8), 300, 64)
    assert len(np.unique(rows, axis=0)) == 300


def test_a_mixture_holds_trends_seasons_and_noise() -> None:
    rows = mixture.generate(np.random.default_rng(9), 600, 160).astype(np.float64)
    links = {lag: np.mean(rows[:, lag:] * rows[:, :-lag], axis=1) for lag in (1, 12)}
    line = np.abs(rows @ standardized(np.arange(160.0)[None, :])[0]) / 160
    assert 0.15 < np.mean(line > 0.7) < 0.6
    assert 0.1 < np.mean(links[12] > 0.6) < 0.7
    assert 0.05 < np.mean(links[1] < 0.2) < 0.5


@pytest.mark.parametrize("length", BUCKETS)
def test_shares_add_up_to_one(length: int) -> None:
    assert sum(mixture.shares(length).values()) == pytest.approx(1.0)
    assert set(mixture.shares(length)) <= set(mixture.FAMILIES)


@pytest.mark.parametrize("length", [576, 1088, 2304])
def test_long_buckets_have_three_tenths_of_subdaily_series(length: int) -> None:
    assert mixture.shares(length)["subdaily"] == pytest.approx(0.3)


@pytest.mark.parametrize("length", [64, 160])
def test_a_quarter_of_the_seasons_of_short_buckets_is_quarterly(length: int) -> None:
    assert PERIODS[length][4] / sum(PERIODS[length].values()) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("length", BUCKETS)
def test_a_drawn_season_returns_within_the_series(length: int) -> None:
    rng = np.random.default_rng(10)
    periods = draw_periods(rng, 2000, length)
    longer = second_periods(rng, periods, length, 1.0)
    assert ((periods == 0) | (periods >= 2)).all()
    assert periods.max() <= length / 1.5
    assert longer.max() <= length / 1.5
    assert (longer > 0).any()
    assert (longer[periods == 0] == 0).all()


def test_yearly_series_are_positive_and_mostly_rise() -> None:
    rows = yearly.generate(np.random.default_rng(11), 500, 64)
    assert (rows > 0).all()
    assert 0.6 < np.mean(rows[:, -1] > rows[:, 0]) < 0.95


def test_shocks_of_yearly_series_grow_with_the_level() -> None:
    rows = yearly.generate(np.random.default_rng(12), 500, 64)
    steps = np.abs(np.diff(rows, n=2, axis=1))
    doubled = rows[:, -20:].mean(axis=1) > 2 * rows[:, :20].mean(axis=1)
    assert np.median(steps[doubled, -20:].mean(axis=1) / steps[doubled, :20].mean(axis=1)) > 1.5


def test_tourism_series_are_positive_with_a_strong_season() -> None:
    rows = np.log(tourism.generate(np.random.default_rng(13), 300, 160))
    steps = standardized(np.diff(rows, axis=1))
    # Steps of a season repeat after a year, whatever its length of 4 or 12 points.
    assert np.mean(np.mean(steps[:, 12:] * steps[:, :-12], axis=1) > 0.5) > 0.6


def test_subdaily_series_repeat_after_a_day_and_stand_at_zero_at_times() -> None:
    rows = subdaily.generate(np.random.default_rng(14), 400, 1088)
    scaled = standardized(rows)
    daily = [
        np.mean(scaled[:, day:] * scaled[:, :-day], axis=1)
        - np.mean(scaled[:, day // 2 :] * scaled[:, : -day // 2], axis=1)
        for day in (24, 48, 96, 144, 288)
    ]
    assert np.mean(np.max(daily, axis=0) > 0.3) > 0.4
    assert 0.1 < np.mean(np.mean(np.abs(rows) < 1e-9, axis=1) > 0.1) < 0.5


def test_first_order_equals_its_recursion() -> None:
    rng = np.random.default_rng(15)
    rows, coefficient = rng.standard_normal((5, 70)), np.array([[-0.9], [0.0], [0.5], [0.99], [1]])
    expected = np.zeros_like(rows)
    last = np.zeros(5)
    for step in range(70):
        last = rows[:, step] + coefficient[:, 0] * last
        expected[:, step] = last
    np.testing.assert_allclose(first_order(rows, coefficient), expected, atol=1e-5)


def test_second_order_equals_its_recursion() -> None:
    rng = np.random.default_rng(16)
    rows = rng.standard_normal((4, 90))
    radius = np.array([[0.5], [0.8], [0.95], [0.985]])
    angle = np.array([[0.1], [1.0], [2.0], [3.0]])
    expected = np.zeros((4, 92))
    for step in range(90):
        expected[:, step + 2] = (
            rows[:, step]
            + 2 * radius[:, 0] * np.cos(angle[:, 0]) * expected[:, step + 1]
            - radius[:, 0] ** 2 * expected[:, step]
        )
    np.testing.assert_allclose(second_order(rows, radius, angle), expected[:, 2:], atol=1e-4)


def test_seasonal_equals_its_recursion_and_lag_zero_changes_nothing() -> None:
    rng = np.random.default_rng(17)
    rows, lags = rng.standard_normal((4, 50)), np.array([0, 4, 7, 60])
    coefficient = np.array([[0.5], [1.0], [0.8], [1.0]])
    expected = rows.copy()
    for row, lag in enumerate(lags):
        for step in range(lag, 50 if lag else 0):
            expected[row, step] += coefficient[row, 0] * expected[row, step - lag]
    np.testing.assert_allclose(seasonal(rows, lags, coefficient), expected, atol=1e-9)


def test_delayed_moves_every_row_by_its_own_lag() -> None:
    rows = np.arange(1.0, 13.0).reshape(3, 4)
    moved = delayed(rows, np.array([0, 1, 9]))
    np.testing.assert_array_equal(moved, [[1, 2, 3, 4], [0, 5, 6, 7], [0, 0, 0, 0]])


def test_pick_never_leaves_its_shares() -> None:
    chosen = pick(np.random.default_rng(18), (0, 3, 1, 0), 4000)
    assert set(chosen) == {1, 2}
    assert np.mean(chosen == 1) == pytest.approx(0.75, abs=0.03)


def test_a_single_spike_is_not_usable() -> None:
    rows = np.zeros((1, 160))
    rows[0, 80] = 1.0
    assert not mixture.usable(standardized(rows))[0]
