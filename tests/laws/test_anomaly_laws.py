"""What holds for the scores of every stream, whatever the weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.small_models import KINDS, random_forecaster, sample_series
from xlstmd.errors import InputError
from xlstmd.models.anomaly_scores import joined

PATCH = 16


@pytest.fixture(scope="module")
def forecaster():
    return random_forecaster()


def with_gaps(kind, length):
    """Gives a series that begins with missing points and misses some more."""
    rng = np.random.default_rng(7)
    series = sample_series(kind, length)
    series[rng.random(length) < 0.1] = np.nan
    series[: rng.integers(0, 5)] = np.nan
    return series


def score(stream, series, portions, rate=0.05):
    return joined([stream.score(part, rate) for part in portions(series)])


def whole(series):
    return [series]


def singly(series):
    return np.array_split(series, len(series))


def assert_same(actual, expected):
    np.testing.assert_array_equal(actual.quantile, expected.quantile)
    np.testing.assert_array_equal(actual.surprise, expected.surprise)
    np.testing.assert_array_equal(actual.flag, expected.flag)


@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_scores_are_the_same_bit_for_bit_in_any_portions(forecaster, data, kind):
    series = with_gaps(kind, data.draw(st.integers(1, 500)))
    cuts = data.draw(st.lists(st.integers(0, len(series)), max_size=12).map(sorted))
    before = data.draw(st.integers(0, 60))
    streams = [forecaster.stream() for _ in range(3)]
    for stream in streams:
        stream.append(sample_series(kind, before))
    expected = score(streams[0], series, whole)
    assert_same(score(streams[1], series, singly), expected)
    assert_same(score(streams[2], series, lambda points: np.split(points, cuts)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_and_states_are_the_same_bit_for_bit_in_any_portions(forecaster, kind):
    series = sample_series(kind, 700)
    streams = [forecaster.stream() for _ in range(3)]
    for stream, count in zip(streams, (1, 23, 700), strict=True):
        for part in np.array_split(series, count):
            stream.append(part)
    first, *others = streams
    for other in others:
        for name, array in first._streams.arena.export(0).items():
            np.testing.assert_array_equal(other._streams.arena.export(0)[name], array)
        np.testing.assert_array_equal(other.forecast(20).quantiles, first.forecast(20).quantiles)


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_place_in_the_forecast_of_the_last_boundary(forecaster, kind):
    series = sample_series(kind, 200)
    scores = forecaster.stream().score(series)
    stream = forecaster.stream()
    assert np.isnan(scores.quantile[:PATCH]).all()
    for start in range(0, len(series) - PATCH, PATCH):
        stream.append(series[start : start + PATCH])
        for step in range(PATCH):
            place = start + PATCH + step
            level = scores.quantile[place] if place < len(series) else np.nan
            if not 1e-9 < level < 1.0 - 1e-9 or kind == "constant":
                continue
            forecast = stream.forecast(step + 1, (level,))
            value, width = forecast.quantiles[0, step, 0], np.nanstd(series) + 1e-9
            assert value == pytest.approx(series[place], abs=1e-6 * width)


def test_missing_points_and_the_first_patch_have_no_score(forecaster):
    series = np.concatenate([np.full(3, np.nan), np.arange(60.0)])
    series[40] = np.nan
    scores = forecaster.stream().score(series)
    unscored = np.isnan(scores.quantile)
    assert np.flatnonzero(unscored).tolist() == [*range(3 + PATCH), 40]
    np.testing.assert_array_equal(np.isnan(scores.surprise), unscored)
    assert not scores.flag[unscored].any()
    nothing = forecaster.stream().score(np.full(50, np.nan))
    assert np.isnan(nothing.quantile).all()


def test_scores_lie_where_they_should(forecaster):
    scores = forecaster.stream().score(sample_series("walk", 500))
    level, surprise = scores.quantile[PATCH:], scores.surprise[PATCH:]
    assert ((level >= 0.0) & (level <= 1.0)).all()
    assert (surprise >= np.log(2.0) - 1e-12).all()
    inner = np.minimum(level, 1.0 - level)
    usual = inner > 1e-6
    np.testing.assert_allclose(surprise[usual], -np.log(inner[usual]), rtol=1e-9)


def test_scoring_may_begin_late_and_changes_no_forecast(forecaster):
    series = sample_series("season", 400)
    early, late, never = (forecaster.stream() for _ in range(3))
    from_start = early.score(series)
    late.append(series[:203])
    rest = late.score(series[203:])
    never.append(series)
    assert not np.isnan(rest.quantile).any()
    boundary = 208
    np.testing.assert_array_equal(rest.quantile[boundary - 203 :], from_start.quantile[boundary:])
    np.testing.assert_array_equal(rest.surprise[boundary - 203 :], from_start.surprise[boundary:])
    for stream in (early, late):
        np.testing.assert_array_equal(stream.forecast(40).quantiles, never.forecast(40).quantiles)


def test_points_that_are_appended_between_are_remembered(forecaster):
    series = sample_series("gaps", 600)
    asked, silent = forecaster.stream(), forecaster.stream()
    expected = asked.score(series, 0.1).flag[350:]
    silent.score(series[:90], 0.1)
    silent.append(series[90:350])
    np.testing.assert_array_equal(silent.score(series[350:], 0.1).flag, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("factor", "shift", "tolerance"),
    [(4.0, 0.0, 0.0), (2.0**-30, 0.0, 0.0), (1000.0, 0.0, 1e-6), (7.0, 1e4, 1e-6)],
)
def test_a_change_of_unit_changes_no_score(forecaster, kind, factor, shift, tolerance):
    series = sample_series(kind, 333)
    plain = forecaster.stream().score(series)
    moved = forecaster.stream().score(factor * series + shift)
    np.testing.assert_allclose(moved.quantile, plain.quantile, atol=tolerance, rtol=0)


@pytest.mark.parametrize("rate", [0.2, 0.05, 0.02])
def test_noise_is_flagged_at_the_rate_that_is_asked_for(forecaster, rate):
    series = np.random.default_rng(5).normal(size=4000)
    flags = forecaster.stream().score(series, rate).flag
    # Once there are ranks of that rarity.
    judged = flags[PATCH + int(1.0 / rate) :]
    low, high = stats.binom.interval(0.999, len(judged), rate)
    assert low <= judged.sum() <= high


def test_a_constant_series_is_usual_until_it_moves(forecaster):
    stream = forecaster.stream()
    scores = stream.score(np.full(300, 3.0))
    np.testing.assert_array_equal(scores.quantile[PATCH:], 0.5)
    assert not scores.flag.any()
    moved = stream.score([3.0, 3.0 + 1e-9, 2.0])
    assert moved.flag.tolist() == [False, True, True]
    assert moved.quantile[0] == 0.5
    assert moved.quantile[1] == pytest.approx(1.0)
    assert moved.quantile[2] == pytest.approx(0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_farther_points_are_more_surprising_to_the_ends_of_float64(forecaster, kind):
    series = sample_series(kind, 128)
    far = 10.0 ** np.arange(3, 301, 9)
    for sign in (1.0, -1.0):
        surprises = []
        for distance in far:
            stream = forecaster.stream()
            stream.score(series)
            surprises.append(stream.score([sign * distance]).surprise[0])
        assert np.isfinite(surprises).all()
        assert (np.diff(surprises) > 0.0).all()


@pytest.mark.parametrize(
    "series",
    [
        [1e300, -1e300] * 40,
        [5e-324, 0.0] * 40,
        [*[0.0] * 40, *[1e300] * 40],
        [1.0, *[np.nan] * 300, 2.0, 3.0],
        [1e12, 1e12 + 1.0] * 40,
    ],
)
def test_extreme_series_have_finite_scores(forecaster, series):
    series = np.array(series)
    scores = forecaster.stream().score(series)
    known = ~np.isnan(series)
    known[:PATCH] = False
    assert np.isfinite(scores.surprise[known]).all()
    assert ((scores.quantile[known] >= 0.0) & (scores.quantile[known] <= 1.0)).all()


@pytest.mark.parametrize(
    ("values", "rate", "field"),
    [
        ([1.0, np.inf], 0.1, "values: expected finite numbers"),
        ([1.0], 0.0, "anomaly_rate: expected a number strictly between 0 and 1, got 0.0"),
        ([1.0], 1.0, "anomaly_rate"),
        ([1.0], float("nan"), "anomaly_rate"),
        ([1.0], "often", "anomaly_rate"),
        ([1.0], None, "anomaly_rate"),
    ],
)
def test_a_refused_score_takes_nothing_in(forecaster, values, rate, field):
    stream = forecaster.stream()
    with pytest.raises(InputError, match=field):
        stream.score(values, rate)
    assert stream.observed == 0
    assert not stream._streams.arena.scorer(0).begun


def test_no_points_have_no_scores(forecaster):
    scores = forecaster.stream().score([])
    assert len(scores.quantile) == len(scores.surprise) == len(scores.flag) == 0
