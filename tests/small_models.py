"""Forecasters with random weights: small, quick, and far from trivial."""

import numpy as np
import torch

from xlstmd.models import presets
from xlstmd.models.checkpoint import ForecasterCheckpoint
from xlstmd.models.forecast_network import ForecastNetwork
from xlstmd.models.forecaster import Forecaster
from xlstmd.models.runtime import make_runtime


def random_checkpoint(seed=0, name="tiny"):
    """Gives a checkpoint of the tiny preset whose weights are all random."""
    config = presets.tiny()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ForecastNetwork(config)
    weights = {}
    for parameter_name, parameter in network.named_parameters():
        noise = 0.1 * torch.randn(parameter.shape, generator=generator)
        bias = parameter.detach() if parameter.ndim == 1 else 0.3 * parameter.detach()
        weights[parameter_name] = (bias + noise).numpy()
    return ForecasterCheckpoint(name=name, version="1", config=config, weights=weights)


def random_forecaster(seed=0):
    """Gives a forecaster of the tiny preset."""
    checkpoint = random_checkpoint(seed)
    return Forecaster(checkpoint, make_runtime(checkpoint))


def sample_series(kind, length, seed=0):
    """Gives a series of a kind that a scale has to cope with."""
    rng = np.random.default_rng(seed)
    place = np.arange(length)
    match kind:
        case "walk":
            return np.cumsum(rng.normal(size=length))
        case "growth":
            return np.exp(place / 60.0) + 0.1 * rng.normal(size=length)
        case "season":
            return np.sin(place / 5.0) + 0.1 * rng.normal(size=length)
        case "constant":
            return np.full(length, 3.0)
        case "late":
            return np.where(place < length // 3, 0.0, np.cumsum(rng.normal(size=length)))
        case "gaps":
            return np.where(rng.random(length) < 0.3, np.nan, rng.normal(size=length))
    raise ValueError(kind)


KINDS = ("walk", "growth", "season", "constant", "late", "gaps")
