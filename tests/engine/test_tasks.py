"""What a task accepts, and how it says no."""

import numpy as np
import pytest

from xlstmd.engine.tasks import ForecastTask
from xlstmd.errors import InputError

SERIES = np.array([1.0, np.nan, 2.0])


def refused(**parts):
    with pytest.raises(InputError) as caught:
        ForecastTask(**{"histories": (SERIES,), "horizon": 3, **parts})
    return caught.value


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.1])
def test_levels_lie_strictly_between_0_and_1(level):
    error = refused(quantile_levels=(0.5, level))
    assert (error.code, error.field) == ("out_of_range", "quantile_levels[1]")


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_levels_are_finite(level):
    assert refused(quantile_levels=(level,)).code == "non_finite"


def test_levels_keep_their_order_and_may_be_tiny():
    levels = (0.9, 1e-9, 0.5)
    task = ForecastTask(histories=(SERIES,), horizon=1, quantile_levels=levels)
    assert task.quantile_levels == levels


def test_a_level_is_named_once():
    error = refused(quantile_levels=(0.5, 0.1, 0.5))
    assert (error.code, error.field) == ("out_of_range", "quantile_levels[2]")


def test_no_levels_are_empty():
    assert refused(quantile_levels=()).code == "empty"


@pytest.mark.parametrize("horizon", [0, -1])
def test_horizon_is_one_or_more(horizon):
    error = refused(horizon=horizon)
    assert (error.code, error.field) == ("out_of_range", "horizon")


@pytest.mark.parametrize("values", [[], [np.nan], [np.nan, np.nan]])
def test_a_series_has_an_observed_value(values):
    error = refused(histories=(SERIES, np.array(values, dtype=float)))
    assert (error.code, error.field) == ("empty", "series[1].values")


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused_with_their_position(value):
    error = refused(histories=(np.array([1.0, np.nan, value]),))
    assert error.code == "non_finite"
    assert "position 2" in error.got


def test_a_history_is_a_list():
    error = refused(histories=(np.ones((2, 2)),))
    assert (error.code, error.field) == ("bad_shape", "series[0].values")


def test_no_series_are_empty():
    assert refused(histories=()).code == "empty"


def test_size_counts_what_goes_in_and_what_comes_out():
    task = ForecastTask(histories=(SERIES, SERIES), horizon=4, quantile_levels=(0.1, 0.9))
    assert task.rows == 2
    assert task.points == 2 * (3 + 4)
    assert task.nbytes == 8 * (2 * 3 + 2 * 4 * (2 + 2))
