"""What holds for every forecaster, whatever its weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import KINDS, random_forecaster, sample_series
from xlstmd.errors import InputError

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def forecaster():
    return random_forecaster()


def spread(forecast):
    """Gives the size of a forecast's numbers around their own level."""
    return np.abs(forecast.quantiles).max()


@pytest.mark.parametrize("kind", KINDS)
def test_stream_equals_whole_history_at_every_cut(forecaster, kind):
    series = sample_series(kind, 420)
    stream = forecaster.stream()
    for cut in range(1, len(series) + 1):
        stream.append(series[cut - 1 : cut])
        if stream.observed == 0 or (cut > 40 and cut % 5):
            continue
        streamed = stream.forecast(40, LEVELS)
        whole = forecaster.forecast([series[:cut]], 40, LEVELS)
        tolerance = 1e-5 * max(spread(whole), 1e-9)
        np.testing.assert_allclose(streamed.quantiles, whole.quantiles, atol=tolerance, rtol=0)
        np.testing.assert_allclose(streamed.mean, whole.mean, atol=tolerance, rtol=0)


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_stream_can_be_fed_in_any_portions(forecaster, data, kind):
    series = sample_series(kind, data.draw(st.integers(2, 900)))
    stream, start = forecaster.stream(), 0
    while start < len(series):
        size = data.draw(st.integers(1, 400))
        stream.append(series[start : start + size])
        start += size
    whole = forecaster.forecast([series], 20, LEVELS)
    tolerance = 1e-5 * max(spread(whole), 1e-9)
    np.testing.assert_allclose(
        stream.forecast(20, LEVELS).quantiles, whole.quantiles, atol=tolerance, rtol=0
    )


@pytest.mark.parametrize("kind", ["walk", "season"])
def test_a_stream_equals_its_history_at_every_cut_to_a_million_points(forecaster, kind):
    series = sample_series(kind, 1_000_000)
    cuts = [1, 31, 700, 5_000, 65_537, 100_000, 512_345, 999_999, 1_000_000]
    stream, start = forecaster.stream(), 0
    for cut in cuts:
        stream.append(series[start:cut])
        start = cut
        whole = forecaster.forecast([series[:cut]], 20, LEVELS)
        tolerance = 1e-5 * max(spread(whole), 1e-9)
        np.testing.assert_allclose(
            stream.forecast(20, LEVELS).quantiles, whole.quantiles, atol=tolerance, rtol=0
        )


def test_bytes_of_a_stream_do_not_grow(forecaster):
    stream = forecaster.stream()
    announced = stream.nbytes
    for part in np.array_split(sample_series("walk", 20_000), 200):
        stream.append(part)
        kept = stream._streams.arena.export(0)
        assert sum(array.nbytes for array in kept.values()) == announced
    assert stream.nbytes == announced


def test_forecasting_does_not_change_a_stream(forecaster):
    series = sample_series("season", 300)
    asked, silent = forecaster.stream(), forecaster.stream()
    for part in np.array_split(series, 50):
        asked.append(part)
        silent.append(part)
        asked.forecast(30, LEVELS)
    np.testing.assert_array_equal(
        asked.forecast(30, LEVELS).quantiles, silent.forecast(30, LEVELS).quantiles
    )


def test_refused_points_leave_a_stream_as_it_was(forecaster):
    stream = forecaster.stream()
    stream.append([1.0, 2.0, 4.0])
    before = stream.forecast(5, LEVELS)
    with pytest.raises(InputError, match="values: expected finite numbers"):
        stream.append([1.0, np.inf])
    assert stream.observed == 3
    np.testing.assert_array_equal(stream.forecast(5, LEVELS).quantiles, before.quantiles)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("factor", "shift"), [(1000.0, 0.0), (1e-6, 0.0), (7.0, 1e4), (1.0, -50.0)]
)
def test_forecast_follows_change_of_unit(forecaster, kind, factor, shift):
    series = sample_series(kind, 333)
    plain = forecaster.forecast([series], 50, LEVELS)
    moved = forecaster.forecast([factor * series + shift], 50, LEVELS)
    for name in ("mean", "median", "quantiles"):
        expected = factor * getattr(plain, name) + shift
        tolerance = 1e-5 * np.abs(factor * plain.quantiles).max()
        np.testing.assert_allclose(getattr(moved, name), expected, atol=tolerance, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_do_not_cross(forecaster, kind):
    levels = np.sort(np.concatenate([np.linspace(0.001, 0.999, 41), [0.01, 0.05, 0.5, 0.95]]))
    forecast = forecaster.forecast([sample_series(kind, 200)], 60, np.unique(levels))
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()


def test_levels_keep_their_order_and_their_values(forecaster):
    series = [sample_series("walk", 100)]
    forward = forecaster.forecast(series, 10, (0.1, 0.33, 0.9))
    backward = forecaster.forecast(series, 10, (0.9, 0.33, 0.1))
    np.testing.assert_array_equal(forward.quantiles, backward.quantiles[..., ::-1])
    assert backward.quantile_levels == (0.9, 0.33, 0.1)
    np.testing.assert_array_equal(
        forward.median, forecaster.forecast(series, 10, (0.5,)).quantiles[..., 0]
    )


def test_batch_rows_are_independent(forecaster):
    rng = np.random.default_rng(3)
    series = [
        sample_series(KINDS[i % 6], int(n), i) for i, n in enumerate(rng.integers(2, 900, 24))
    ]
    together = forecaster.forecast(series, 70, LEVELS).quantiles
    order = rng.permutation(len(series))
    permuted = forecaster.forecast([series[i] for i in order], 70, LEVELS).quantiles
    for row, one in enumerate(series):
        alone = forecaster.forecast([one], 70, LEVELS).quantiles[0]
        tolerance = 1e-6 * max(np.abs(alone).max(), 1e-9)
        np.testing.assert_allclose(together[row], alone, atol=tolerance, rtol=0)
        place = int(np.flatnonzero(order == row)[0])
        np.testing.assert_allclose(permuted[place], alone, atol=tolerance, rtol=0)


def test_shorter_horizon_is_the_beginning_of_a_longer_one(forecaster):
    series = [sample_series("season", 211)]
    long = forecaster.forecast(series, 100, LEVELS).quantiles
    for horizon in (1, 15, 16, 17, 99):
        short = forecaster.forecast(series, horizon, LEVELS).quantiles
        np.testing.assert_allclose(short, long[:, :horizon], atol=2e-5)


def test_missing_points_before_the_first_observed_one_do_not_count(forecaster):
    series = sample_series("walk", 80)
    late = np.concatenate([np.full(500, np.nan), series])
    np.testing.assert_array_equal(
        forecaster.forecast([series], 10, LEVELS).quantiles,
        forecaster.forecast([late], 10, LEVELS).quantiles,
    )


@pytest.mark.parametrize(
    "series",
    [
        [5.0],
        [0.0, 0.0, 0.0],
        [1e30, 2e30, -1e30, 1e30],
        [1e-30, 2e-30, 3e-30],
        [1e300, -1e300, 1e300],
        [5e-324, 0.0, 5e-324],
        [1.0, *[np.nan] * 700],
        [1e12, 1e12 + 1.0, 1e12 + 2.0],
        [0.0] * 100 + [1e9],
    ],
)
def test_extreme_series_give_sane_forecasts(forecaster, series):
    values = np.array(series)
    forecast = forecaster.forecast([values], 100, (0.01, 0.5, 0.99))
    assert np.isfinite(forecast.quantiles).all()
    assert np.isfinite(forecast.mean).all()
    known = values[~np.isnan(values)]
    width = known.max() - known.min()
    assert (
        np.abs(forecast.quantiles - known.mean()).max()
        <= 100.0 * width + 1e-9 * np.abs(known).max()
    )


@pytest.mark.parametrize("points", [1, 3, 30, 200])
@pytest.mark.parametrize("base", [40, 500, 1000])
def test_forecast_follows_a_change_of_level(forecaster, base, points):
    rng = np.random.default_rng(0)
    series = np.concatenate([rng.normal(size=base), 1e6 + rng.normal(size=points)])
    forecast = forecaster.forecast([series], 8, (0.01, 0.5, 0.99))
    assert forecast.quantiles[..., 2].min() > 1e4
    stream = forecaster.stream()
    for point in series:
        stream.append([point])
    streamed = stream.forecast(8, (0.01, 0.5, 0.99))
    np.testing.assert_allclose(streamed.quantiles, forecast.quantiles, atol=10.0)


def test_a_high_level_hides_no_movement(forecaster):
    series = sample_series("season", 200)
    plain = forecaster.forecast([series], 10, LEVELS).quantiles
    lifted = forecaster.forecast([series + 1e11], 10, LEVELS).quantiles
    np.testing.assert_allclose(lifted - 1e11, plain, atol=1e-3)


def test_constant_series_stays_constant(forecaster):
    forecast = forecaster.forecast([np.full(77, 0.1)], 12, LEVELS)
    np.testing.assert_array_equal(forecast.quantiles, np.full((1, 12, 3), 0.1))
    np.testing.assert_allclose(forecast.mean, 0.1)


def test_horizon_of_ten_thousand_stays_sane(forecaster):
    forecast = forecaster.forecast([sample_series("season", 500)], 10_000, LEVELS)
    assert forecast.quantiles.shape == (1, 10_000, 3)
    assert np.abs(forecast.quantiles).max() < 100.0


def test_histories_are_not_modified(forecaster):
    series = sample_series("gaps", 300)
    copy = series.copy()
    forecaster.forecast([series], 10, LEVELS)
    stream = forecaster.stream()
    stream.append(series)
    stream.append(series)
    np.testing.assert_array_equal(series, copy)


@pytest.mark.parametrize(
    ("histories", "horizon", "levels", "field"),
    [
        ([[1.0, np.inf]], 3, LEVELS, r"series\[0\].values"),
        ([[1.0, 1e301]], 3, LEVELS, r"series\[0\].values: expected numbers up to 1e300"),
        ([[1.0, 2.0]], 2.5, LEVELS, "horizon: expected a whole number"),
        ([[1.0, 2.0]], True, LEVELS, "horizon: expected a whole number"),
        ([[1.0, 2.0]], 3, (0.5, 0.5), r"quantile_levels\[1\]: expected each level once"),
        ([[1.0], [np.nan, np.nan]], 3, LEVELS, r"series\[1\].values"),
        ([[1.0], []], 3, LEVELS, r"series\[1\].values"),
        ([[1.0, 2.0]], 0, LEVELS, "horizon"),
        ([[1.0, 2.0]], 3, (), "quantile_levels"),
        ([[1.0, 2.0]], 3, (0.5, 1.0), r"quantile_levels\[1\]"),
        ([[1.0, 2.0]], 3, (float("nan"),), r"quantile_levels\[0\]"),
    ],
)
def test_bad_requests_name_the_field(forecaster, histories, horizon, levels, field):
    with pytest.raises(InputError, match=field):
        forecaster.forecast([np.array(h) for h in histories], horizon, levels)


@pytest.mark.parametrize(
    "series",
    [None, 5.0, "abc", [10**400, 1], np.array(["a"]), np.array([1 + 2j]), [1.0, [2.0]], {}],
)
def test_what_is_no_series_is_refused_by_name(forecaster, series):
    with pytest.raises(InputError, match="series"):
        forecaster.predict(series, 3)


def test_masked_points_are_missing(forecaster):
    masked = np.ma.array([1.0, 99.0, 2.0, 3.0], mask=[False, True, False, False])
    np.testing.assert_array_equal(
        forecaster.predict(masked, 3).quantiles,
        forecaster.predict([1.0, None, 2.0, 3.0], 3).quantiles,
    )


@pytest.mark.parametrize("values", [np.ones((2, 3)), None, "abc", [1.0, 1e305]])
def test_a_refused_append_takes_nothing_in(forecaster, values):
    stream = forecaster.stream()
    with pytest.raises(InputError, match="values"):
        stream.append(values)
    assert stream.observed == 0
    with pytest.raises(InputError, match="at least one observed value"):
        stream.forecast(3)
