"""MASE and WQL against values worked out by hand and against a plain loop over the series."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlstmd.train.metrics import (
    QUANTILE_LEVELS,
    bootstrap_ratios,
    coverage,
    geometric_mean,
    quantile_loss,
    repeat_as_quantiles,
    score_series,
    seasonal_naive,
    seasonal_scale,
)

NAN = float("nan")

values = st.one_of(st.floats(-1e3, 1e3), st.just(NAN))
histories = st.lists(
    st.lists(values, min_size=1, max_size=12).map(np.array), min_size=1, max_size=6
)


def array(*rows):
    return np.array(rows, dtype=np.float64)


def score_point(truth, point, scale, levels=QUANTILE_LEVELS):
    quantiles = repeat_as_quantiles(point, len(levels))
    return score_series(truth, point, quantiles, levels=levels, scale=np.array(scale))


def test_scale_is_the_mean_absolute_seasonal_difference():
    scale = seasonal_scale([array(1, 3, 2, 6), array(5, 5, 5)], season=2)
    np.testing.assert_allclose(scale, [(1 + 3) / 2, 0.0])


def test_scale_leaves_out_pairs_with_a_missing_member():
    scale = seasonal_scale([array(1, NAN, 4, 6, 7)], season=1)
    np.testing.assert_allclose(scale, [(2 + 1) / 2])


def test_scale_of_a_history_without_a_complete_pair_is_nan():
    scale = seasonal_scale([array(1, 2), array(1, NAN, 3), array(1, 2, 3, 4)], season=3)
    np.testing.assert_allclose(scale, [NAN, NAN, 3.0])
    assert np.isnan(seasonal_scale([array(1)], season=1)).all()


@given(histories, st.integers(1, 5))
def test_scale_of_many_histories_equals_that_of_each(series, season):
    def alone(history):
        differences = np.abs(history[season:] - history[:-season])
        kept = differences[~np.isnan(differences)]
        return kept.mean() if len(kept) else NAN

    expected = [alone(history) for history in series]
    np.testing.assert_allclose(seasonal_scale(series, season), expected, rtol=1e-12)


def test_seasonal_naive_repeats_the_last_season():
    forecast = seasonal_naive([array(9, 9, 1, 2, 3), array(4, 5)], horizon=5, season=3)
    np.testing.assert_array_equal(forecast[0], [1, 2, 3, 1, 2])
    # The second history lacks one phase of the season, which gets its newest value.
    np.testing.assert_array_equal(forecast[1], [5, 4, 5, 5, 4])


def test_seasonal_naive_looks_one_more_season_back_where_a_value_is_missing():
    forecast = seasonal_naive([array(7, 8, 1, NAN), array(NAN, 8, NAN, NAN)], horizon=2, season=2)
    np.testing.assert_array_equal(forecast, [[1, 8], [8, 8]])


def test_seasonal_naive_of_nothing_observed_is_nan():
    assert np.isnan(seasonal_naive([array(NAN, NAN)], horizon=3, season=1)).all()


@given(histories, st.integers(1, 5), st.integers(1, 7))
def test_seasonal_naive_of_many_histories_equals_that_of_each(series, season, horizon):
    together = seasonal_naive(series, horizon, season)
    for row, history in zip(together, series, strict=True):
        np.testing.assert_array_equal(row, seasonal_naive([history], horizon, season)[0])


def test_mase_is_one_mean_over_all_series_and_steps():
    scores = score_point(array([1, 2], [10, 10]), array([2, 2], [10, 14]), scale=[0.5, 2.0])
    assert scores.mase == pytest.approx((2 + 0 + 0 + 2) / 4)


def test_mase_leaves_out_undefined_and_infinite_terms():
    truth = array([1, NAN], [1, 2], [1, 2])
    scores = score_point(truth, array([3, 3], [1, 9], [1, 9]), scale=[2.0, 0.0, NAN])
    assert scores.mase == pytest.approx(1.0)


def test_mase_without_any_defined_term_is_nan():
    assert np.isnan(score_point(array([1, 2]), array([1, 9]), scale=[0.0]).mase)


def test_pinball_weighs_misses_above_and_below_by_the_level():
    loss = quantile_loss(array([10]), np.array([[[8.0, 12.0]]]), levels=(0.1, 0.9))
    np.testing.assert_allclose(loss, [[[2 * 0.1 * 2, 2 * 0.1 * 2]]])
    loss = quantile_loss(array([10]), np.array([[[12.0, 8.0]]]), levels=(0.1, 0.9))
    np.testing.assert_allclose(loss, [[[2 * 0.9 * 2, 2 * 0.9 * 2]]])


def test_wql_is_the_loss_over_the_magnitude_of_the_same_points():
    truth = array([10, NAN], [-20, 30])
    quantiles = np.array([[[8.0, 12.0], [0.0, 99.0]], [[-20.0, -20.0], [30.0, 34.0]]])
    scores = score_series(truth, quantiles[:, :, 0], quantiles, levels=(0.1, 0.9), scale=np.ones(2))
    # By point: mean over the two levels of two times the pinball loss.
    losses = [(0.4 + 0.4) / 2, 0.0, (0.0 + 2 * 0.1 * 4) / 2]
    assert scores.wql == pytest.approx(sum(losses) / (10 + 20 + 30))


def test_wql_of_a_point_forecast_is_its_weighted_absolute_error():
    rng = np.random.default_rng(0)
    truth, point = rng.normal(size=(2, 7, 5))
    truth[2, 3] = NAN
    expected = np.nansum(np.abs(truth - point)) / np.nansum(np.abs(truth))
    assert score_point(truth, point, np.ones(7)).wql == pytest.approx(expected, rel=1e-12)


@given(st.floats(1e-6, 1e6))
def test_scores_do_not_depend_on_the_unit(unit):
    rng = np.random.default_rng(1)
    truth, point = rng.normal(size=(2, 4, 6))
    before = score_point(truth, point, np.ones(4))
    after = score_point(unit * truth, unit * point, np.full(4, unit))
    assert after.mase == pytest.approx(before.mase, rel=1e-9)
    assert after.wql == pytest.approx(before.wql, rel=1e-9)


def test_coverage_is_the_share_of_truths_below_the_quantile():
    quantiles = np.array([[[1.0, 4.0], [1.0, 4.0], [1.0, 4.0]]])
    np.testing.assert_allclose(coverage(array([0, 2, NAN]), quantiles), [0.5, 1.0])


def test_coverage_counts_a_truth_at_its_quantile_half():
    np.testing.assert_allclose(coverage(array([3, 3]), np.full((1, 2, 1), 3.0)), [0.5])


def test_geometric_mean_of_ratios():
    assert geometric_mean(array(0.5, 2.0, 8.0)) == pytest.approx(2.0)
    np.testing.assert_allclose(geometric_mean(array([1, 4], [4, 1])), [2.0, 2.0])


def test_bootstrap_centers_on_the_ratio_and_narrows_with_more_series():
    rng = np.random.default_rng(2)
    spreads = []
    for num_series in (50, 800):
        truth = rng.normal(10.0, 1.0, size=(num_series, 4))
        ours = score_point(truth, truth + rng.normal(size=truth.shape), np.ones(num_series))
        naive = score_point(truth, truth + 2.0 * rng.normal(size=truth.shape), np.ones(num_series))
        mase, wql = bootstrap_ratios(ours, naive, draws=400, rng=np.random.default_rng(3))
        assert mase.mean() == pytest.approx(ours.mase / naive.mase, rel=0.02)
        assert wql.mean() == pytest.approx(ours.wql / naive.wql, rel=0.02)
        spreads.append(mase.std())
    assert spreads[1] < spreads[0] / 2.5


def test_bootstrap_of_a_forecast_against_itself_is_exactly_one():
    scores = score_point(array([1, 2], [3, 5]), array([2, 2], [4, 4]), scale=[1.0, 1.0])
    mase, wql = bootstrap_ratios(scores, scores, draws=20, rng=np.random.default_rng(4))
    np.testing.assert_array_equal(mase, 1.0)
    np.testing.assert_array_equal(wql, 1.0)


def test_draws_repeat_with_the_same_seed():
    scores = score_point(array([1, 2], [3, 5]), array([2, 2], [4, 4]), scale=[1.0, 2.0])
    naive = score_point(array([1, 2], [3, 5]), array([0, 2], [4, 4]), scale=[1.0, 2.0])
    first, second = (
        bootstrap_ratios(scores, naive, draws=9, rng=np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)
