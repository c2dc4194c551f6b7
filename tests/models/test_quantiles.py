"""Quantile functions: any level, and the mean."""

import numpy as np
import pytest
from scipy import stats

from xlstmd.models.presets import QUANTILE_LEVELS
from xlstmd.models.quantile_plan import forecast_plan
from xlstmd.models.quantiles import at_levels, best_in_units, in_units, mean
from xlstmd.ops.native import load_native


@pytest.mark.parametrize(
    "law", [stats.norm(3, 2), stats.uniform(-1, 4), stats.laplace(0, 1), stats.expon(0, 1)]
)
def test_mean_is_near_that_of_the_distribution(law):
    quantiles = law.ppf(QUANTILE_LEVELS)
    assert mean(quantiles, QUANTILE_LEVELS) == pytest.approx(law.mean(), abs=0.05 * law.std())


def test_mean_of_a_skewed_forecast_is_not_its_median():
    quantiles = stats.expon(0, 1).ppf(QUANTILE_LEVELS)
    assert mean(quantiles, QUANTILE_LEVELS) > 1.3 * quantiles[QUANTILE_LEVELS.index(0.5)]


def test_mean_is_the_integral_of_the_levels():
    quantiles = np.sort(np.random.default_rng(0).normal(size=(4, len(QUANTILE_LEVELS))))
    grid = (np.arange(200_000) + 0.5) / 200_000
    values = at_levels(quantiles, QUANTILE_LEVELS, grid)
    np.testing.assert_allclose(values.mean(axis=-1), mean(quantiles, QUANTILE_LEVELS), atol=1e-4)


def test_known_levels_come_back_exactly():
    quantiles = np.sort(np.random.default_rng(1).normal(size=(3, len(QUANTILE_LEVELS))))
    np.testing.assert_array_equal(at_levels(quantiles, QUANTILE_LEVELS, QUANTILE_LEVELS), quantiles)


def test_tails_go_on_and_meet_the_outermost_levels():
    quantiles = stats.norm.ppf(QUANTILE_LEVELS)
    far = at_levels(quantiles, QUANTILE_LEVELS, (1e-6, 1e-3, 0.01 - 1e-9, 0.999, 1 - 1e-6))
    assert (np.diff(far) > 0).all()
    assert far[2] == pytest.approx(quantiles[0], abs=1e-6)


@pytest.mark.skipif(load_native().library is None, reason=load_native().reason)
@pytest.mark.parametrize("scales", [1, 7])
@pytest.mark.parametrize("wanted", [(0.5,), (0.1, 0.9), (0.001, 0.01, 0.33, 0.99, 0.9999)])
def test_compiled_forecasts_are_the_definition_to_the_last_bit(scales, wanted):
    rng = np.random.default_rng(len(wanted))
    raw = rng.normal(size=(5, 7, len(QUANTILE_LEVELS)))
    raw[0, 0, :4] = 1.0
    means, deviations = rng.normal(size=(2, 5, scales)) * 100.0
    deviations[1] = 0.0
    raw[2, 3, 5], raw[3, 1, 0], raw[4, 0], deviations[4] = np.nan, np.inf, 10.0, 1e308
    plan = forecast_plan(QUANTILE_LEVELS, wanted)
    expected = in_units(raw, means, deviations, plan)
    forecast = best_in_units()(raw, means, deviations, plan)
    assert best_in_units() is not in_units
    np.testing.assert_array_equal(forecast.finite, expected.finite)
    assert expected.finite.tolist() == [True, True, False, False, False]
    for mine, theirs in zip(forecast[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(mine[:2], theirs[:2])
