"""The choice of a runtime, and what every runtime must hold to."""

import numpy as np
import pytest

from tests.small_models import random_checkpoint
from xlstmd.errors import BackendUnavailable, CheckpointError, ConfigError
from xlstmd.models import runtime as runtimes
from xlstmd.models.network_config import NetworkConfig
from xlstmd.models.runtime import make_runtime

# Eight bits of mantissa in a handful of products, one after the other.
SHORT_PRODUCTS = 3e-2


@pytest.fixture
def checkpoint():
    return random_checkpoint()


def prefill(runtime, features, outputs=3):
    valid = np.ones(features.shape[:2], dtype=bool)
    return runtime.prefill(features, valid, runtime.init_state(len(features)), outputs)


def test_short_products_change_little(checkpoint):
    network = checkpoint.config.network
    features = np.random.default_rng(0).normal(size=(2, 9, network.num_features))
    features = features.astype(np.float32)
    exact, state = prefill(make_runtime(network, checkpoint.weights, "torch"), features)
    short, other = prefill(
        make_runtime(network, checkpoint.weights, "torch", precision="bfloat16"), features
    )
    assert short.dtype == other.dtype == np.float32
    assert 0.0 < np.abs(short - exact).max() < SHORT_PRODUCTS * np.abs(exact).max()
    assert not np.array_equal(state, other)


def test_a_precision_that_no_runtime_has_is_refused_with_the_reason(checkpoint, monkeypatch):
    exact = runtimes._RUNTIMES[-1]._replace(precisions=("float32",))
    monkeypatch.setattr(runtimes, "_RUNTIMES", (exact,))
    with pytest.raises(BackendUnavailable, match="computes in float32, not in bfloat16") as caught:
        make_runtime(checkpoint.config.network, checkpoint.weights, precision="bfloat16")
    assert set(caught.value.refusals) == {"torch"}


@pytest.mark.parametrize("field", [{"name": "nothing"}, {"precision": "float8"}])
def test_unknown_names_are_refused(checkpoint, field):
    with pytest.raises(ConfigError, match="expected one of"):
        make_runtime(checkpoint.config.network, checkpoint.weights, **field)


def test_weights_of_another_shape_are_refused(checkpoint):
    weights = dict(checkpoint.weights)
    weights.pop("head.down.bias")
    with pytest.raises(CheckpointError, match=r"(?s)weights do not fit.*head\.down\.bias"):
        make_runtime(checkpoint.config.network, weights)


@pytest.mark.parametrize(
    ("field", "value"),
    [("patch_length", 0), ("num_quantiles", 0), ("activation", "gelu"), ("added_feature", 9999)],
)
def test_a_network_that_cannot_be_is_refused(checkpoint, field, value):
    known = checkpoint.config.network
    fields = {name: getattr(known, name) for name in NetworkConfig.__dataclass_fields__}
    with pytest.raises(ConfigError, match=field):
        NetworkConfig(**(fields | {field: value}))
