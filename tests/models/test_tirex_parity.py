"""TiRex against the package `tirex-ts`, on random weights; skipped where that is not installed."""

import numpy as np
import pytest
import torch

from tests.small_models import sample_series, tirex_content
from xlstmd.models.tirex import load_tirex

pytest.importorskip("tirex", reason="needs the package tirex-ts")

# Their cell rounds states and recurrent weights to bfloat16 at every step; ours keeps float32.
EXACT = 1e-5
STOCK = 2e-2

SMALL = {"width": 64, "heads": 4, "blocks": 3, "hidden": 96, "context": 2048}


class Float32Torch:
    """Stands for torch in a module that rounds to bfloat16, and makes it keep float32."""

    bfloat16 = torch.float32

    def __getattr__(self, name):
        """Gives everything else as it is."""
        return getattr(torch, name)


@pytest.fixture(scope="module")
def content():
    return tirex_content(**SMALL)


@pytest.fixture(scope="module")
def file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("parity") / "model.ckpt"
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def theirs(content):
    from tirex.models.tirex import TiRexZero

    hyper = content["hyper_parameters"]
    model = TiRexZero(backend="torch", **hyper)
    state = {key.removeprefix("block_stack."): t for key, t in content["state_dict"].items()}
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture
def exact(monkeypatch):
    monkeypatch.setattr("tirex.models.slstm.cell.torch", Float32Torch())


def official(model, points, horizon, steps):
    """Gives their quantiles [Z, Q], sorted as ours are."""
    quantiles, median = model.forecast(
        [torch.tensor(points, dtype=torch.float32)],
        prediction_length=horizon,
        max_accelerated_rollout_steps=steps,
    )
    # Their `mean`; one axis is lost where the horizon is 1.
    assert torch.equal(median.reshape(quantiles[..., 4].shape), quantiles[..., 4])
    return np.sort(quantiles[0].numpy(), axis=-1)


def error(ours, theirs):
    """Gives the largest difference relative to the spread of their numbers."""
    return np.abs(ours - theirs).max() / np.abs(theirs - theirs.mean()).max()


def series(kind, length):
    points = 2.0 + sample_series(kind, length)
    if kind == "season":
        points[length // 3 : length // 2 : 3] = np.nan
        points[-7:-2] = np.nan
    return points


CASES = [
    (kind, length, horizon)
    for kind in ("walk", "season", "gaps")
    for length, horizon in ((20, 33), (100, 256), (1000, 1), (1999, 96), (2048, 256), (3000, 100))
]


@pytest.mark.parametrize("rollout", ["stepwise", "stateful"])
@pytest.mark.parametrize(("kind", "length", "horizon"), CASES)
def test_exact_cells_agree(theirs, file, exact, kind, length, horizon, rollout):
    model = load_tirex(file, rollout=rollout)
    points = series(kind, length)
    steps = 1 if rollout == "stepwise" else 64
    ours = model.forecast([points], horizon, model.config.quantile_levels).quantiles[0]
    assert error(ours, official(theirs, points, horizon, steps)) <= EXACT


@pytest.mark.parametrize("rollout", ["stepwise", "stateful"])
@pytest.mark.parametrize(("kind", "length", "horizon"), CASES[::2])
def test_stock_cells_agree_within_their_rounding(theirs, file, kind, length, horizon, rollout):
    model = load_tirex(file, rollout=rollout)
    points = series(kind, length)
    steps = 1 if rollout == "stepwise" else 64
    ours = model.forecast([points], horizon, model.config.quantile_levels).quantiles[0]
    assert error(ours, official(theirs, points, horizon, steps)) <= STOCK


def test_constant_series_agree(theirs, file, exact):
    model = load_tirex(file)
    points = np.full(500, 3.0)
    ours = model.forecast([points], 40, model.config.quantile_levels).quantiles[0]
    assert error(ours, official(theirs, points, 40, 1)) <= EXACT


def test_the_published_size_agrees(exact, tmp_path):
    from tirex.models.tirex import TiRexZero

    content = tirex_content(width=512, heads=4, blocks=12, hidden=2048, context=2048)
    path = tmp_path / "model.ckpt"
    torch.save(content, path)
    model = load_tirex(path)
    assert model.describe()["parameters"] == 35_291_200
    theirs = TiRexZero(backend="torch", **content["hyper_parameters"])
    state = {key.removeprefix("block_stack."): t for key, t in content["state_dict"].items()}
    theirs.load_state_dict(state)
    points = sample_series("walk", 700)
    ours = model.forecast([points], 64, model.config.quantile_levels).quantiles[0]
    assert error(ours, official(theirs.eval(), points, 64, 1)) <= EXACT
