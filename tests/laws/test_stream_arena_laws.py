"""Streams that move forward together are, each of them, the stream alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_models import KINDS, random_forecaster, sample_series
from xlstmd.errors import SnapshotDamaged
from xlstmd.models.stream_arena import SCALE_FIELDS, slot_bytes
from xlstmd.models.stream_forms import NumpyForms, best_forms
from xlstmd.models.stream_network import AnyStreamNetwork, best_network
from xlstmd.models.stream_scores import NumpyScores, best_scores
from xlstmd.models.stream_step import StreamStep
from xlstmd.ops.native import load_native

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def forecaster():
    return random_forecaster(seed=3)


def same(one, other):
    """Fails where two answers differ in a bit."""
    assert one.observed == other.observed
    assert (one.error is None) == (other.error is None)
    for name, parts in (("forecast", ("mean", "quantiles")), ("scores", ("quantile", "flag"))):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None)
        for part in parts if mine is not None else ():
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_batch_of_streams_is_each_alone(forecaster, data):
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=5))
    rates = data.draw(st.lists(st.sampled_from((None, 0.1)), min_size=5, max_size=5))
    together = forecaster.streams(len(kinds))
    alone = [forecaster.streams(1) for _ in kinds]
    fed = [0] * len(kinds)
    for _ in range(data.draw(st.integers(1, 6))):
        rows = data.draw(st.lists(st.sampled_from(range(len(kinds))), min_size=1, unique=True))
        steps = []
        for row in rows:
            count = data.draw(st.sampled_from((0, 1, 7, 32, 150)))
            values = sample_series(kinds[row], 2000)[fed[row] : fed[row] + count]
            fed[row] += count
            horizon = data.draw(st.sampled_from((0, 1, 40)))
            steps.append(
                {
                    "values": values,
                    "horizon": horizon,
                    "quantile_levels": LEVELS,
                    "anomaly_rate": rates[row],
                }
            )
        answers = together.run(
            [StreamStep(slot=row, **step) for row, step in zip(rows, steps, strict=True)]
        )
        for row, step, answer in zip(rows, steps, answers, strict=True):
            same(answer, alone[row].run([StreamStep(slot=0, **step)])[0])
    for row, single in enumerate(alone):
        for name, array in single.arena.export(0).items():
            np.testing.assert_array_equal(together.arena.export(row)[name], array)


def test_a_copied_stream_and_a_restored_one_go_on_alike(forecaster):
    streams = forecaster.streams(3)
    series = sample_series("season", 500)
    streams.run([StreamStep(slot=0, values=series[:300], anomaly_rate=0.05)])
    streams.arena.copy(0, 1)
    kept = streams.arena.export(0)
    streams.arena.clear(0)
    streams.arena.restore(2, kept)
    step = {"values": series[300:], "horizon": 20, "quantile_levels": LEVELS, "anomaly_rate": 0.05}
    one, other = streams.run([StreamStep(slot=slot, **step) for slot in (1, 2)])
    same(one, other)


def test_a_cleared_slot_holds_nothing(forecaster):
    streams = forecaster.streams(2)
    streams.run([StreamStep(slot=0, values=sample_series("walk", 300), anomaly_rate=0.1)])
    streams.arena.clear(0)
    used, unused = streams.arena.export(0), streams.arena.export(1)
    for name, array in unused.items():
        np.testing.assert_array_equal(used[name], array)


def test_the_bytes_of_a_slot_are_announced(forecaster):
    streams = forecaster.streams(4)
    announced = slot_bytes(forecaster.config, forecaster._runtime)
    kept = streams.arena.export(0)
    assert sum(array.nbytes for array in kept.values()) == announced == forecaster.stream().nbytes


def test_a_stream_without_a_point_has_no_forecast_and_disturbs_nobody(forecaster):
    streams = forecaster.streams(2)
    full, empty = streams.run(
        [
            StreamStep(
                slot=0, values=sample_series("season", 90), horizon=5, quantile_levels=LEVELS
            ),
            StreamStep(slot=1, values=np.full(3, np.nan), horizon=5, quantile_levels=LEVELS),
        ]
    )
    assert full.error is None
    assert full.forecast.mean.shape == (1, 5)
    assert "none so far" in str(empty.error)


@pytest.mark.parametrize("name", ["state", "points", "scale", "score_surprises", "known"])
def test_arrays_that_are_no_stream_are_refused(forecaster, name):
    arena = forecaster.streams(1).arena
    arrays = arena.export(0)
    for bad in (None, arrays[name][..., :0], np.zeros(arrays[name].shape, dtype=np.float16)):
        broken = dict(arrays)
        broken.pop(name)
        if bad is not None:
            broken[name] = bad
        with pytest.raises(SnapshotDamaged, match=f"{name} as"):
            arena.restore(0, broken)


def forged(arrays, name, number):
    """Gives a stream's arrays with one number changed; of the scale, its field of that name."""
    arrays = {key: array.copy() for key, array in arrays.items()}
    if name in SCALE_FIELDS:
        kind = [(field, "i8" if field in ("anchor", "jumps") else "f8") for field in SCALE_FIELDS]
        arrays["scale"].view(np.dtype(kind))[name] = number
    else:
        arrays[name].reshape(-1)[0] = number
    return arrays


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("known", 10**6),
        ("known", -1),
        ("observed", 3),
        ("observed", 2**62),
        ("encoded", -(10**12)),
        ("encoded", 10**12),
        ("anchor", 10**12),
        ("anchor", -5),
        ("jumps", 10**9),
        ("jumps", -1),
        ("score_made_at", 10**12),
        ("mean", np.nan),
        ("deviation", np.inf),
        ("deviation", -1.0),
        ("state", np.nan),
        ("points", np.inf),
        ("score_quantiles", np.nan),
        ("score_surprises", np.nan),
    ],
)
def test_numbers_that_no_stream_has_are_refused(forecaster, name, number):
    streams = forecaster.streams(2)
    streams.run([StreamStep(slot=0, values=sample_series("walk", 300), anomaly_rate=0.1)])
    arrays = streams.arena.export(0)
    before = streams.arena.export(1)
    with pytest.raises(SnapshotDamaged):
        streams.arena.restore(1, forged(arrays, name, number))
    for key, array in streams.arena.export(1).items():
        np.testing.assert_array_equal(array, before[key])
    streams.arena.restore(1, arrays)


@pytest.mark.skipif(load_native().library is None, reason=load_native().reason)
@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(KINDS), cuts=st.lists(st.integers(0, 900), max_size=6))
def test_compiled_contexts_are_those_of_the_definition(forecaster, kind, cuts):
    series = sample_series(kind, 900)
    arenas = [forecaster.streams(2).arena for _ in range(2)]
    forms = [NumpyForms(arenas[0]), best_forms(arenas[1])]
    patch = forecaster.config.patch_length
    for portion in np.split(series, sorted(cuts)):
        slots = np.array([1, 0])
        renewed = [form.extend(slots, [portion, -portion]) for form in forms]
        np.testing.assert_array_equal(*renewed)
        ends = arenas[0].known[slots][:, None] + patch * np.arange(-2, 2)
        fresh = np.full(ends.shape, 0.5)
        if arenas[0].known.min() > 0:
            ends = np.maximum(ends, 1)
            mine, theirs = (form.features(slots, ends, fresh) for form in forms)
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)
        for name, array in arenas[0].export(0).items():
            np.testing.assert_array_equal(arenas[1].export(0)[name], array)


@pytest.mark.skipif(load_native().library is None, reason=load_native().reason)
@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(KINDS), cuts=st.lists(st.integers(0, 900), max_size=6))
def test_the_compiled_network_is_the_definition(forecaster, kind, cuts):
    series = sample_series(kind, 900)
    runtime = forecaster._runtime
    arenas = [forecaster.streams(2).arena for _ in range(2)]
    networks = [
        AnyStreamNetwork(arenas[0], runtime, NumpyForms(arenas[0])),
        best_network(arenas[1], runtime),
    ]
    assert not isinstance(networks[1], AnyStreamNetwork)
    for portion in np.split(series, sorted(cuts)):
        finite = [network.append([1, 0], [portion, -portion]) for network in networks]
        assert finite == [[True, True]] * 2
        if arenas[0].observed.min() == 0:
            continue
        np.testing.assert_array_equal(*(network.quantiles([0, 1], 2) for network in networks))
        pairs = zip(*(network.forecast([0, 1], 20, LEVELS) for network in networks), strict=True)
        for mine, theirs in pairs:
            for part in ("mean", "median", "quantiles"):
                np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))
    for name, array in arenas[0].export(0).items():
        np.testing.assert_array_equal(arenas[1].export(0)[name], array)


@pytest.mark.skipif(load_native().library is None, reason=load_native().reason)
@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(KINDS), rates=st.tuples(*[st.sampled_from((0.3, 0.01, 1e-4))] * 2))
def test_compiled_scores_are_the_definition(forecaster, kind, rates):
    series = sample_series(kind, 700)
    patch, rng = forecaster.config.patch_length, np.random.default_rng(1)
    arenas = [forecaster.streams(2).arena for _ in range(2)]
    forms = [NumpyScores(arenas[0]), best_scores(arenas[1])]
    assert not isinstance(forms[1], NumpyScores)
    for start in range(0, len(series), patch):
        portion = series[start : start + patch]
        standing = np.sort(rng.normal(size=(patch, 13)) * np.nanstd(portion), axis=1)
        for arena in arenas:
            arena.observed[:] = start
            arena.scores()["made_at"][:] = start
            arena.scores()["quantiles"][:] = standing
        some = [portion[: patch // 2], portion]
        for mine, theirs in zip(*(form.score([1, 0], some, rates) for form in forms), strict=True):
            np.testing.assert_allclose(mine.quantile, theirs.quantile, rtol=1e-12)
            np.testing.assert_allclose(mine.surprise, theirs.surprise, rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(mine.flag, theirs.flag)
    kept = [arena.scores()["surprises"] for arena in arenas]
    np.testing.assert_allclose(*kept, rtol=1e-6)


def test_a_state_that_is_not_finite_is_told_and_disturbs_nobody(forecaster):
    streams, series = forecaster.streams(2), sample_series("season", 200)
    streams.run([StreamStep(slot=slot, values=series[:100]) for slot in (0, 1)])
    streams.arena.state[0, 5] = np.nan
    bad, good = streams.run([StreamStep(slot=slot, values=series[100:101]) for slot in (0, 1)])
    assert "a finite state" in str(bad.error)
    assert good.error is None
