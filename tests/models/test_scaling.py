"""The frozen scale: when it is renewed, and what it costs."""

import numpy as np
import pytest

from tests.small_models import KINDS, sample_series
from xlstmd.models.scaling import ScaledContext

CONTEXT = 128


@pytest.mark.parametrize("kind", KINDS)
def test_scale_is_a_function_of_the_history_alone(kind):
    series = sample_series(kind, 1000)
    singly, at_once = ScaledContext(CONTEXT), ScaledContext(CONTEXT)
    for point in series:
        singly.extend(np.array([point]))
    at_once.extend(series)
    assert (singly.mean, singly.deviation) == (at_once.mean, at_once.deviation)
    np.testing.assert_array_equal(singly.points, at_once.points)


@pytest.mark.parametrize("kind", KINDS)
def test_points_encoded_again_stay_proportional_to_points_taken_in(kind):
    series = sample_series(kind, 5000)
    context, again = ScaledContext(CONTEXT), 0
    for point in series[:32]:
        context.extend(np.array([point]))
    for point in series[32:]:
        if context.extend(np.array([point])):
            again += len(context.points)
    # Each renewal needs a sixteenth of the context as new points, and encodes the whole again.
    assert again <= 17 * len(series)


def test_a_steady_series_is_renewed_seldom():
    context = ScaledContext(CONTEXT)
    context.extend(np.array([1.0, -1.0] * 100))
    renewals = sum(context.extend(np.array([point])) for point in [1.0, -1.0] * 900)
    assert renewals <= 1800 / (CONTEXT // 2) + 1


def test_kept_points_are_bounded():
    context = ScaledContext(CONTEXT)
    for part in np.array_split(sample_series("walk", 3000), 777):
        context.extend(part)
        assert len(context.points) <= CONTEXT + CONTEXT // 2
        assert context.points.base is None or len(context.points.base) == len(context.points)
    assert context.observed == 3000


@pytest.mark.parametrize("level", [0.0, 1.0, -3e7])
def test_rounding_around_a_constant_renews_nothing(level):
    series = np.full(5000, level)
    series[::2] = np.nextafter(level, np.inf) if level else level
    context = ScaledContext(CONTEXT)
    context.extend(series[:40])
    renewals = sum(context.extend(np.array([point])) for point in series[40:])
    assert renewals <= 5000 / (CONTEXT // 2) + 5


def test_a_change_of_level_renews_at_once():
    rng = np.random.default_rng(0)
    context = ScaledContext(CONTEXT)
    context.extend(rng.normal(size=1000))
    assert context.extend(np.array([1e6]))
    assert context.deviation > 1e4


@pytest.mark.parametrize("factor", [1.5, 3.0, 30.0, 1e4])
def test_no_series_can_ask_for_a_renewal_at_every_point(factor):
    """The whole range of float64 is climbed again and again, with rests to forget it."""
    steps = int(2 * 290 / np.log10(factor))
    climb = 10.0 ** np.linspace(-290.0, 290.0, min(steps, 1000))
    series = np.tile(np.concatenate([np.zeros(CONTEXT + 10), climb]), 5)
    context, again = ScaledContext(CONTEXT), 0
    for point in series:
        if context.extend(np.array([point])):
            again += len(context.points)
    assert again <= 60 * len(series)


def test_a_long_silence_keeps_the_scale():
    context = ScaledContext(CONTEXT)
    context.extend(np.array([1.0, 3.0] * 50))
    context.extend(np.full(2000, np.nan))
    assert context.mean == pytest.approx(2.0)
    assert context.deviation == pytest.approx(1.0)
