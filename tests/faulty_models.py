"""Models that break when told to, for lanes in other processes: each is loaded by its name."""

import os
import signal
import time

import numpy as np

from tests.engine.streams import FakeHost, FakeStreamModel

# The last point of a series, or any of a step, says what happens.
EXIT = 901.0
SEGFAULT = 902.0
HANG = 903.0
RAISE = 904.0
NAP = 905.0

NAP_S = 1.5


def suffer(values):
    """Does what the points tell."""
    for value in np.asarray(values).ravel():
        match value:
            case 901.0:
                os._exit(7)
            case 902.0:
                os.kill(os.getpid(), signal.SIGSEGV)
            case 903.0:
                while True:
                    time.sleep(0.01)
            case 904.0:
                raise ZeroDivisionError("told to raise")
            case 905.0:
                time.sleep(NAP_S)


class FaultyHost(FakeHost):
    """Streams that suffer before they take a step."""

    def run(self, steps):
        for step in steps:
            suffer(step.values)
        return super().run(steps)


class FaultyModel(FakeStreamModel):
    """Echoes, and can be fed; suffers before each call."""

    def forecast(self, histories, horizon, quantile_levels):
        suffer([history[-1] for history in histories])
        return super().forecast(histories, horizon, quantile_levels)

    def streams(self, slots):
        return FaultyHost(slots)


class BrokenModel(FaultyModel):
    """Cannot forecast at all."""

    def forecast(self, histories, horizon, quantile_levels):
        raise ValueError("broken model")


def unloadable(kind="CheckpointError"):
    """Is a loader that fails."""
    from xlstmd import errors

    if kind == "exit":
        os._exit(3)
    raise getattr(errors, kind)("model: expected another one, got this one")


def small_random(seed=0):
    """Loads a real forecaster with random weights."""
    from tests.small_models import random_forecaster

    return random_forecaster(seed)
