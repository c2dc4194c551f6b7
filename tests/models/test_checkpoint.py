"""Models on disk: what is written comes back, and nothing else is taken."""

import json

import numpy as np
import pytest

from tests.small_models import random_checkpoint, random_forecaster, sample_series
from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models import presets
from xlstmd.models.checkpoint import find, load, save, shipped
from xlstmd.models.config import ForecasterConfig
from xlstmd.models.forecaster import load_forecaster


def test_save_and_load_keep_forecasts(tmp_path):
    save(random_checkpoint(), tmp_path / "model")
    series = [sample_series("walk", 200)]
    before = random_forecaster().forecast(series, 20, (0.1, 0.9)).quantiles
    after = load_forecaster(tmp_path / "model").forecast(series, 20, (0.1, 0.9)).quantiles
    np.testing.assert_allclose(after, before, atol=2e-2 * np.abs(before).max())


def test_saving_twice_changes_nothing(tmp_path):
    first = save(random_checkpoint(), tmp_path / "a")
    again = load(tmp_path / "a")
    assert save(again, tmp_path / "b").sha256 == first.sha256
    for name, array in load(tmp_path / "b").weights.items():
        np.testing.assert_array_equal(array, again.weights[name])


def test_a_changed_file_is_refused(tmp_path):
    save(random_checkpoint(), tmp_path)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged or exchanged"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "expected format 1"),
        ({"kind": "policy"}, "expected a forecaster"),
        ({"architecture": {"patch_length": 16}}, "complete model"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, change, message):
    save(random_checkpoint(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path):
    save(random_checkpoint(), tmp_path)
    path = tmp_path / "config.json"
    facts = json.loads(path.read_text())
    facts["architecture"]["hidden_width"] = 64
    path.write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match="weights do not fit"):
        load_forecaster(tmp_path)


def test_an_unknown_model_is_named():
    with pytest.raises(CheckpointError, match="got nothing-like-it"):
        find("nothing-like-it")


@pytest.mark.parametrize("name", sorted(presets.FORECASTERS))
def test_config_round_trip(name):
    config = presets.forecaster(name)
    assert ForecasterConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_an_unknown_field_is_named_with_the_nearest():
    plain = presets.tiny().to_dict() | {"patch_lenght": 3}
    with pytest.raises(ConfigError, match="did you mean patch_length"):
        ForecasterConfig.from_dict(plain)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_models_load_and_say_what_they_are(name):
    facts = load_forecaster(name).describe()
    assert facts["licence"] == "Apache-2.0"
    assert facts["training"]["seed"] is not None
    assert (shipped()[name] / "README.md").is_file()
    assert sum(path.stat().st_size for path in shipped()[name].iterdir()) < 40_000_000
