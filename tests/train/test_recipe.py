"""A run from seed to weights, small enough for a test."""

import csv

import numpy as np
import pytest
import torch

from tests.small_models import sample_series
from xlstmd.errors import CheckpointError
from xlstmd.models import presets
from xlstmd.models.checkpoint import load
from xlstmd.models.forecast_network import untrained_network
from xlstmd.models.forecaster import load_forecaster
from xlstmd.train.loop import Loop, LoopConfig
from xlstmd.train.losses import pinball
from xlstmd.train.pool import build_pool
from xlstmd.train.recipe import draw_batches, train_forecaster
from xlstmd.train.schedule import cosine_by_time


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return build_pool(folder, seed=1, counts={64: 400, 160: 200})


def short_loop(folder, steps, seed=0, products="float32"):
    """Gives a loop whose time is counted in steps."""
    torch.manual_seed(seed)
    preset = presets.tiny()
    config = LoopConfig(seconds=1e9, warm_up=5, log_every=5, checkpoint_s=1e9, products=products)
    loop = Loop(
        untrained_network(preset),
        config,
        folder,
        np.random.default_rng(seed),
        preset.quantile_levels,
    )
    return loop, steps


def learn(loop, pool, steps):
    batches = draw_batches(loop.rng, pool, presets.tiny())
    return [loop._learn(next(batches)) for _ in range(steps)]


def test_the_loss_falls(pool, tmp_path):
    loop, _ = short_loop(tmp_path, 0)
    losses = learn(loop, pool, 60)
    assert np.mean(losses[-10:]) < 0.93 * np.mean(losses[:5])


def test_rounded_products_learn_the_same(pool, tmp_path):
    full, rounded = (
        learn(short_loop(tmp_path / products, 0, products=products)[0], pool, 60)
        for products in ("float32", "bfloat16")
    )
    assert rounded != full
    np.testing.assert_allclose(np.mean(rounded[-20:]), np.mean(full[-20:]), rtol=0.01)


def test_a_run_is_not_resumed_with_other_products(pool, tmp_path):
    short_loop(tmp_path, 0, products="bfloat16")[0].save()
    with pytest.raises(CheckpointError, match="expected a run with products float32, got one with"):
        short_loop(tmp_path, 0)[0].resume()


def test_a_resumed_run_is_the_same_run(pool, tmp_path):
    whole, _ = short_loop(tmp_path / "whole", 0)
    learn(whole, pool, 8)
    first, _ = short_loop(tmp_path / "cut", 0)
    learn(first, pool, 5)
    first.save()
    second, _ = short_loop(tmp_path / "cut", 0, seed=9)
    assert second.resume()
    learn(second, pool, 3)
    assert second.step == whole.step
    for name, weights in whole.averaged().items():
        torch.testing.assert_close(second.averaged()[name], weights, rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_another_architecture_is_refused(pool, tmp_path):
    loop, _ = short_loop(tmp_path, 0)
    loop.save()
    preset = presets.small()
    rng = np.random.default_rng(0)
    other = Loop(
        untrained_network(preset), LoopConfig(seconds=1), tmp_path, rng, preset.quantile_levels
    )
    with pytest.raises(CheckpointError, match="expected this preset's weights"):
        other.resume()


def test_recipe_writes_a_model_that_forecasts(pool, tmp_path):
    train_forecaster("tiny", tmp_path, minutes=0.03, pool=pool.folder)
    checkpoint = load(tmp_path / "model")
    assert checkpoint.training["steps"] > 0
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "loss.csv").open() as file:
        assert next(csv.reader(file)) == ["step", "samples", "seconds", "loss"]
    forecast = load_forecaster(tmp_path / "model").predict(sample_series("season", 100), 12)
    assert np.isfinite(forecast.quantiles).all()


def test_pinball_loss_is_least_at_the_quantile():
    draws = torch.linspace(0.0, 1.0, 1001)
    level = torch.tensor([0.8])
    weights = torch.full_like(draws, 1.0 / len(draws))
    losses = [
        float(pinball(torch.full((len(draws), 1), guess), draws, weights, level))
        for guess in (0.7, 0.8, 0.9)
    ]
    assert min(losses) == losses[1]


def test_learning_rate_warms_up_and_falls_with_time():
    rate = [cosine_by_time(t, 100.0, 1000, warm_up=10, floor=0.02) for t in (0, 50, 100, 200)]
    assert rate == pytest.approx([1.0, 0.51, 0.02, 0.02])
    assert cosine_by_time(0.0, 100.0, 0, warm_up=10, floor=0.02) == pytest.approx(0.1)
