"""TiRex files of random weights: read key for key, and forecast as the model is defined."""

import numpy as np
import pytest
import torch

from tests.small_models import KINDS, sample_series, tirex_content, tirex_file
from xlstmd.errors import CheckpointError, ConfigError, InputError
from xlstmd.models.checkpoint import find, load
from xlstmd.models.forecaster import load_forecaster
from xlstmd.models.foreign.tirex import read_tirex
from xlstmd.models.runtime import make_runtime
from xlstmd.models.tirex import TiRexForecaster, load_tirex

LEVELS = (0.1, 0.5, 0.9)
CONTEXT = 256
PATCH = 32

# Rows of another length, or a state instead of the tokens before it: another order of summation.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tirex_file(tmp_path_factory.mktemp("tirex") / "model.ckpt")


@pytest.fixture(scope="module")
def stepwise(path):
    return load_forecaster(path)


@pytest.fixture(scope="module")
def stateful(path):
    return load_tirex(path, rollout="stateful")


def assert_near(actual, expected, tolerance=ROUNDING):
    """Compares relative to the spread of what is expected."""
    level = expected.mean()
    scale = max(np.abs(expected - level).max(), 1e-3 * abs(level), 1e-9)
    assert np.abs(actual - expected).max() <= tolerance * scale


def plain(path, points, patches):
    """Gives the definition: a full window with all its empty patches, in one pass of the network.

    Args:
      path: of the file.
      points: of one series.
      patches: to forecast.
    """
    checkpoint = read_tirex(path)
    runtime = make_runtime(checkpoint.config.network, checkpoint.weights)
    window = np.full(CONTEXT + (patches - 1) * PATCH, np.nan)
    kept = points[-CONTEXT:]
    window[CONTEXT - len(kept) : CONTEXT] = kept
    mean, deviation = np.nanmean(window), np.nanstd(window)
    tokens = ((window - mean) / deviation).reshape(1, -1, PATCH)
    seen = ~np.isnan(tokens)
    features = np.concatenate([np.where(seen, tokens, 0.0), seen], -1, dtype=np.float32)
    state = runtime.init_state(1)
    raw, _ = runtime.prefill(features, np.ones(tokens.shape[:2], dtype=bool), state, patches)
    return np.sort(raw[0].reshape(patches * PATCH, -1), axis=-1) * deviation + mean


@pytest.mark.parametrize("length", [1, 20, 32, 33, 100, 255, 256, 300])
def test_cached_padding_equals_explicit_padding(path, stateful, length):
    points = 5.0 + np.cumsum(np.random.default_rng(length).normal(size=length + 1))[1:]
    if length == 1:
        points = np.concatenate([points, [np.nan, 7.0]])
    levels = stateful.config.quantile_levels
    for patches in (1, 4):
        forecast = stateful.forecast([points], patches * PATCH, levels)
        assert_near(forecast.quantiles[0], plain(path, points, patches))


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_split_of_the_context_changes_nothing(path, cut):
    checkpoint = read_tirex(path)
    runtime = make_runtime(checkpoint.config.network, checkpoint.weights)
    features = np.random.default_rng(cut).normal(size=(3, 9, 2 * PATCH)).astype(np.float32)
    valid = np.ones((3, 9), dtype=bool)
    whole, after = runtime.prefill(features, valid, runtime.init_state(3), 9)
    first, state = runtime.prefill(
        features[:, :cut].copy(), valid[:, :cut], runtime.init_state(3), cut
    )
    second, state = runtime.prefill(features[:, cut:].copy(), valid[:, cut:], state, 9 - cut)
    assert_near(np.concatenate([first, second], axis=1), whole)
    assert_near(state[:, : PATCH * 3], after[:, : PATCH * 3])


@pytest.mark.parametrize("length", [20, 100, 250, 256, 400])
def test_stepwise_is_one_patch_after_the_other(path, stepwise, length):
    points = np.cumsum(np.random.default_rng(length).normal(size=length)) - 20.0
    levels = stepwise.config.quantile_levels
    forecast = stepwise.forecast([points], 4 * PATCH, levels).quantiles[0]
    for step in range(4):
        moved = np.concatenate([points, np.full(step * PATCH, np.nan)])
        part = forecast[step * PATCH : (step + 1) * PATCH]
        assert_near(part, plain(path, moved, 1))


def test_both_ways_begin_alike_and_part_later(stepwise, stateful):
    points = sample_series("walk", 400)
    one, other = (
        model.forecast([points], 2 * PATCH, LEVELS).quantiles for model in (stepwise, stateful)
    )
    assert_near(one[:, :PATCH], other[:, :PATCH], 1e-6)
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("rollout", ["stepwise", "stateful"])
@pytest.mark.parametrize("level", [-2400.0, 0.0, 7e5])
def test_a_long_horizon_does_not_collapse(path, rollout, level):
    model = load_tirex(path, rollout=rollout)
    points = level + np.random.default_rng(1).normal(size=300)
    forecast = model.forecast([points], 3000, LEVELS)
    assert forecast.quantiles.shape == (1, 3000, 3)
    assert np.isfinite(forecast.quantiles).all()
    assert np.abs(forecast.quantiles - level).max() < 30.0
    shorter = model.forecast([points], 100, LEVELS)
    assert_near(shorter.quantiles, forecast.quantiles[:, :100])


@pytest.mark.parametrize("trailing", [10, 100, 220])
def test_missing_points_at_the_end_do_not_collapse_it(stepwise, trailing):
    points = np.concatenate([500.0 + sample_series("season", 300), np.full(trailing, np.nan)])
    forecast = stepwise.forecast([points], 600, LEVELS)
    assert np.abs(forecast.quantiles - 500.0).max() < 30.0


@pytest.mark.parametrize("rollout", ["stepwise", "stateful"])
def test_rows_are_independent(path, rollout):
    model = load_tirex(path, rollout=rollout)
    rng = np.random.default_rng(3)
    series = [
        sample_series(KINDS[i % 6], int(n), i) for i, n in enumerate(rng.integers(40, 600, 24))
    ]
    together = model.forecast(series, 100, LEVELS).quantiles
    for row in (0, 5, 11, 23):
        assert_near(together[row], model.forecast([series[row]], 100, LEVELS).quantiles[0])


# The scale of a constant series is its level, by definition.
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"constant"}))
@pytest.mark.parametrize(("factor", "shift"), [(1000.0, 0.0), (1e-6, 0.0), (7.0, 1e4)])
def test_forecast_follows_change_of_unit(stepwise, kind, factor, shift):
    points = sample_series(kind, 333)
    expected = factor * stepwise.forecast([points], 50, LEVELS).quantiles + shift
    assert_near(stepwise.forecast([factor * points + shift], 50, LEVELS).quantiles, expected)


def test_only_the_window_counts(stepwise):
    points = sample_series("walk", 300)
    other = np.concatenate([sample_series("growth", 500), points[-CONTEXT:]])
    np.testing.assert_array_equal(
        stepwise.forecast([points], 40, LEVELS).quantiles,
        stepwise.forecast([other], 40, LEVELS).quantiles,
    )


@pytest.mark.parametrize(
    "points",
    [[5.0], [0.0, 0.0], [1e300, -1e300, 1e300], [5e-324, 0.0], [1e12, 1e12 + 1.0], [3.0] * 300],
)
def test_extreme_series_give_finite_forecasts(stepwise, points):
    forecast = stepwise.forecast([np.array(points)], 100, LEVELS)
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0.0).all()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([np.nan, np.nan], "at least one observed value, got 2 missing"),
        ([], "at least one observed value, got no points"),
        ([1.0, *[np.nan] * CONTEXT], "at least one observed value among the last 256"),
        ([1.0, np.inf], "finite"),
    ],
)
def test_series_that_say_nothing_are_refused_by_name(stepwise, points, message):
    with pytest.raises(InputError, match=rf"series\[1\]\.values: expected .*{message}"):
        stepwise.forecast([np.ones(3), np.array(points)], 4, LEVELS)


def test_it_is_a_model_like_the_others(path, stepwise):
    facts = stepwise.describe()
    assert facts["parameters"] == sum(a.size for a in read_tirex(path).weights.values())
    assert facts["context_length"] == CONTEXT
    assert stepwise.identity == f"tirex@{facts['sha256'][:8]}"
    points = sample_series("walk", 80)
    np.testing.assert_array_equal(
        stepwise.predict(points, 5, LEVELS).quantiles,
        stepwise.forecast([points], 5, LEVELS).quantiles,
    )
    with pytest.raises(ConfigError, match="stream: expected"):
        stepwise.stream()
    with pytest.raises(ConfigError, match="rollout: expected one of stepwise, stateful"):
        load_tirex(path, rollout="autoregressive")


def test_a_file_is_found_by_its_ending_and_is_no_folder(path, tmp_path):
    assert find(path) == path
    with pytest.raises(CheckpointError, match="readable model"):
        load(path)
    with pytest.raises(CheckpointError, match=r"or a file \.ckpt"):
        find(tmp_path / "absent.ckpt")


def test_short_products_change_little(path, stepwise):
    points = sample_series("season", 300)
    short = load_forecaster(path, runtime="torch", precision="bfloat16")
    expected = stepwise.forecast([points], 64, LEVELS).quantiles
    assert_near(short.forecast([points], 64, LEVELS).quantiles, expected, 5e-2)


def changed(tmp_path, change):
    content = tirex_content()
    change(content["state_dict"], content["hyper_parameters"])
    torch.save(content, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_keys_may_come_without_their_prefix(path, tmp_path):
    def strip(state, hyper):
        for key in list(state):
            state[key.removeprefix("block_stack.")] = state.pop(key)

    plain_keys = read_tirex(changed(tmp_path, strip)).weights
    for name, array in read_tirex(path).weights.items():
        np.testing.assert_array_equal(plain_keys[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, h: s.pop("block_stack.out_norm.weight"), r"out_norm\.weight: .* got no tensor"),
        (lambda s, h: s.update({"block_stack.blocks.0.new": torch.ones(1)}), r"blocks\.0\.new: "),
        (
            lambda s, h: s.update({"block_stack.out_norm.weight": torch.ones(33)}),
            r"out_norm\.weight: expected shape \[32\], got \[33\]",
        ),
        (
            lambda s, h: s.update({"block_stack.blocks.1.ffn.proj_up.weight": torch.ones(64, 32)}),
            r"blocks\.1\.ffn\.proj_up\.weight: expected shape \[128, 32\], got \[64, 32\]",
        ),
        (
            lambda s, h: s.update({"block_stack.out_norm.weight": torch.ones(32).long()}),
            r"out_norm\.weight: expected a tensor of floats",
        ),
        (lambda s, h: s.update({"out_norm.weight": torch.ones(32)}), "each key once"),
        (lambda s, h: h.pop("train_ctx_len"), "train_ctx_len: expected int, got nothing"),
        (lambda s, h: h.update(train_ctx_len=100), "context_length: expected a multiple of 32"),
        (lambda s, h: h.update(model_config=None), "model_config: expected dict, got NoneType"),
        (lambda s, h: h["model_config"].update(output_patch_size=16), "output_patch_size"),
        (lambda s, h: h["model_config"].update(quantiles=[0.5, "a"]), "quantiles: expected floats"),
        (lambda s, h: h["model_config"]["block_kwargs"].update(num_blocks=10**9), "num_blocks"),
        (lambda s, h: h["model_config"]["block_kwargs"].update(all_slstm=False), "all_slstm"),
        (lambda s, h: h["model_config"]["block_kwargs"].update(num_heads=3), "multiple of num_hea"),
        (lambda s, h: h["model_config"]["block_kwargs"].update(num_heads=4), "gate.weight: expec"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
    with pytest.raises(CheckpointError, match=rf"model\.ckpt: .*{message}"):
        read_tirex(changed(tmp_path, change))


def test_the_runtime_has_nothing_to_do_with_the_file(path):
    checkpoint = read_tirex(path)
    runtime = make_runtime(checkpoint.config.network, checkpoint.weights)
    model = TiRexForecaster(checkpoint, runtime)
    points = sample_series("gaps", 90)
    np.testing.assert_array_equal(
        model.forecast([points], 9, LEVELS).quantiles,
        load_forecaster(path).forecast([points], 9, LEVELS).quantiles,
    )
