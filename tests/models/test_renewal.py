"""The native renewals of a scale against their definition: equal to the last bit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import KINDS, sample_series
from xlstmd.models import renewal
from xlstmd.ops.native import load_native

pytestmark = pytest.mark.skipif(load_native().library is None, reason=load_native().reason)


def hostile(kind, length, seed):
    """Gives a series that asks for renewals as often as it can."""
    rng = np.random.default_rng(seed)
    match kind:
        case "climb":
            return 3.0 ** (np.arange(length) % 600) * np.where(np.arange(length) % 7, 1.0, -1.0)
        case "jumps":
            return np.where(rng.random(length) < 0.02, 1e6 * rng.normal(size=length), 1.0)
        case "heavy":
            return np.clip(rng.standard_cauchy(length) ** 5, -1e300, 1e300)
        case "level":
            return 1e12 + rng.integers(0, 3, length)
        case "holes":
            return np.where(np.arange(length) // 150 % 2, np.nan, rng.normal(size=length))
    raise ValueError(kind)


HOSTILE = ("climb", "jumps", "heavy", "level", "holes")


def moved(advance, series, cuts, context_length):
    """Feeds a series in parts; gives the scale and the points after each."""
    scale, points, states = renewal.Scale(), np.empty(0), []
    for part in np.split(series, cuts):
        seen = len(points)
        points = np.concatenate([points, part])
        start, renewed = advance(scale, points, seen, context_length)
        points = points[start:]
        states.append((dataclasses.astuple(scale), len(points), renewed))
    return states


@given(
    kind=st.sampled_from(KINDS + HOSTILE),
    length=st.integers(1, 2500),
    seed=st.integers(0, 999),
    context_length=st.sampled_from((64, 128, 1536)),
    data=st.data(),
)
def test_native_renewals_equal_the_definition(kind, length, seed, context_length, data):
    from xlstmd.models.native_renewal import advance

    make = sample_series if kind in KINDS else hostile
    series = make(kind, length, seed)
    if np.isnan(series[0]):
        series[0] = 1.0
    cuts = sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))
    with np.errstate(over="ignore"):
        expected = moved(renewal.advance, series, cuts, context_length)
    assert moved(advance, series, cuts, context_length) == expected


def test_the_native_form_is_chosen():
    from xlstmd.models.native_renewal import advance

    assert renewal.best_advance() is advance
