"""Levels of values, ranks of surprises, and the state that is kept of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from xlstmd.errors import ModelFailed
from xlstmd.models.anomaly import AnomalyScorer, fresh_arrays
from xlstmd.models.calibration import REMEMBERED, Calibration
from xlstmd.models.presets import QUANTILE_LEVELS
from xlstmd.models.quantiles import at_levels, levels_of

LAWS = {
    "normal": stats.norm(),
    "heavy": stats.cauchy(),
    "whole numbers": stats.poisson(3.0),
    "constant": stats.randint(7, 8),
}


def random_quantiles(rows, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.normal(size=(rows, len(QUANTILE_LEVELS))), axis=1)


@pytest.mark.parametrize("level", [1e-12, 1e-3, 0.01, 0.0123, 0.3, 0.5, 0.77, 0.99, 0.9999])
def test_the_level_of_a_quantile_is_the_level_that_was_asked_for(level):
    quantiles = random_quantiles(20)
    values = at_levels(quantiles, QUANTILE_LEVELS, (level,))[:, 0]
    levels, tails = levels_of(values, quantiles, QUANTILE_LEVELS)
    np.testing.assert_allclose(levels, level, rtol=1e-9)
    np.testing.assert_allclose(tails, np.log(min(level, 1.0 - level)), rtol=1e-9)


def test_levels_rise_with_the_value_and_tails_fall_to_the_ends():
    far = np.geomspace(8.0, 1e300, 1000)
    values = np.unique(np.concatenate([-far, np.linspace(-8.0, 8.0, 2001), far]))
    quantiles = np.repeat(random_quantiles(1), len(values), axis=0)
    levels, tails = levels_of(values, quantiles, QUANTILE_LEVELS)
    assert (np.diff(levels) >= 0.0).all()
    middle = int(np.abs(levels - 0.5).argmin())
    assert (np.diff(tails[:middle]) > 0.0).all()
    assert (np.diff(tails[middle + 1 :]) < 0.0).all()
    assert np.isfinite(tails).all()


def test_the_power_law_takes_over_without_a_step_or_a_bend():
    quantiles = np.array([stats.norm.ppf(QUANTILE_LEVELS)])
    slope = (quantiles[0, 1] - quantiles[0, 0]) / np.log(5.0)
    depths = np.array([32.0 - 1e-5, 32.0, 32.0 + 1e-5])
    _, tails = levels_of(
        quantiles[0, 0] - slope * depths, np.repeat(quantiles, 3, axis=0), QUANTILE_LEVELS
    )
    np.testing.assert_allclose(tails, np.log(0.01) - depths, rtol=1e-9)
    np.testing.assert_allclose(np.diff(tails), -1e-5, rtol=1e-3)


def test_a_value_that_several_levels_share_lies_in_their_middle():
    quantiles = np.array([[0.0, 0.0, 0.0, 1.0]] * 3)
    levels, _ = levels_of(np.array([0.0, 0.5, np.nan]), quantiles, (0.1, 0.2, 0.5, 0.9))
    np.testing.assert_allclose(levels, [0.3, 0.7, np.nan])


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("rate", [0.3, 0.05, 0.01])
def test_exchangeable_surprises_are_flagged_at_most_at_the_rate(law, rate):
    surprises = LAWS[law].rvs(size=20_000, random_state=1).astype(float)
    flags = Calibration().flags(surprises, rate)[int(1.0 / rate) :]
    low, high = stats.binom.interval(0.999, len(flags), rate)
    assert flags.sum() <= high
    if law in ("normal", "heavy"):
        assert flags.sum() >= low


@given(data=st.data(), rate=st.sampled_from([0.2, 0.01, 1e-4]))
def test_a_flag_is_what_counting_says(data, rate):
    size = data.draw(st.integers(1, 300))
    surprises = np.round(stats.expon.rvs(size=size, random_state=size, scale=3.0), 1)
    surprises[:: data.draw(st.integers(2, 9))] = np.nan
    flags = Calibration().flags(surprises, rate)
    past = []
    for surprise, flag in zip(surprises, flags, strict=True):
        larger, count = sum(old >= np.float32(surprise) for old in past), len(past)
        if np.isnan(surprise):
            assert not flag
            continue
        if rate * (count + 1) >= 1.0:
            assert flag == (larger + 1 <= rate * (count + 1))
        else:
            assert flag == (larger == 0 and 2.0 * np.exp(-surprise) <= rate)
        past.append(np.float32(surprise))


def test_only_the_newest_surprises_are_remembered():
    rng = np.random.default_rng(0)
    loud, quiet, new = 100.0 + rng.random(500), rng.random(REMEMBERED), np.array([1.5])
    both, late = Calibration(), Calibration()
    both.flags(np.concatenate([loud, quiet]), 0.1)
    late.flags(quiet, 0.1)
    for calibration in (both, late):
        assert calibration.count == REMEMBERED
        assert calibration.flags(new, 0.001).tolist() == [True]
    np.testing.assert_array_equal(both._newest, late._newest)


def scored(scorer, start, stop, seed=0):
    """Runs a scorer over points of a stream of patches of 4."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=400)
    scaled = rng.normal(size=(400, 4, 3)).astype(np.float32)
    scores = []
    for place in range(start, stop):
        if scorer.wants_forecast(place):
            scorer.stand(scaled[place], 2.0, 3.0, place)
        assert 1 <= scorer.room(place) <= 4
        scores.append(scorer.score(values[place : place + 1], place, 0.1))
    return [(s.quantile[0], s.surprise[0], s.flag[0]) for s in scores]


@pytest.mark.parametrize("cut", [0, 3, 4, 101, 102])
def test_a_scorer_goes_on_from_its_arrays(cut):
    levels = (0.1, 0.5, 0.9)
    expected = scored(AnomalyScorer(levels, 4), 0, 200)[cut:]
    arrays = fresh_arrays(levels, 4)
    other = AnomalyScorer(levels, 4, arrays)
    other.begin()
    scored(other, 0, cut)
    copies = {name: array.copy() for name, array in arrays.items()}
    again = AnomalyScorer(levels, 4, copies)
    assert again.begun
    np.testing.assert_array_equal(scored(again, cut, 200), expected)
    assert sum(array.nbytes for array in fresh_arrays(QUANTILE_LEVELS, 32).values()) < 8192


def test_a_forecast_that_is_not_finite_is_refused_and_one_beyond_float64_cut():
    scorer = AnomalyScorer((0.1, 0.9), 2)
    with pytest.raises(ModelFailed, match="finite forecast"):
        scorer.stand(np.array([[0.0, np.nan]] * 2, dtype=np.float32), 0.0, 1.0, 2)
    scorer.stand(np.array([[1e4, -1e4]] * 2, dtype=np.float32), 0.0, 1e306, 2)
    scores = scorer.score(np.array([1e300, -1e300]), 2, 0.1)
    assert np.isfinite(scores.surprise).all()
