"""Models that break when a file says so, or a point: each is loaded by its name, in any process.

What is to happen lies in the files of a folder, one for each place: `load`, `open`, `call`, `step`,
`restore`. Points tell what those of `faulty_models` do, and some more.
"""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.engine.streams import FakeStreamModel
from tests.fakes import NAN_MAKER
from tests.faulty_models import EXIT, HANG, NAP, NAP_S, RAISE, SEGFAULT
from xlstmd.errors import ModelFailed

# Where the moment is noted at which a process has ended itself, by the clock that all share.
DIED = "died"
# A line for each time that the model was loaded: moment and process.
LOADED = "loaded"
# A line for each call of the model with steps: how many, and whether it was broken.
STEPS = "steps"


class Orders:
    """What a folder says."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def obey(self, place):
        """Does what the file of a place says; `hang` lasts for as long as the file is there."""
        file = self.folder / place
        try:
            self.suffer(file.read_text().strip())
        except FileNotFoundError:
            return

    def suffer(self, fault):
        """Breaks this process."""
        match fault:
            case "exit":
                self._note_death()
                os._exit(7)
            case "segfault":
                self._note_death()
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                self._note_death()
                while True:
                    time.sleep(0.01)
            case "raise":
                raise ZeroDivisionError("told to raise")
            case "nap":
                time.sleep(NAP_S)

    def note(self, name, line):
        """Adds a line to a file."""
        with (self.folder / name).open("a") as file:
            file.write(f"{line}\n")

    def _note_death(self):
        (self.folder / DIED).write_text(repr(time.monotonic()))


FAULTS = {EXIT: "exit", SEGFAULT: "segfault", HANG: "hang", RAISE: "raise", NAP: "nap"}


def faults_in(steps):
    """Gives what the points of some steps tell, in the order in which a process can suffer it."""
    found = {FAULTS[value] for step in steps for value in FAULTS if (step.values == value).any()}
    return [fault for fault in ("nap", "exit", "segfault", "hang", "raise") if fault in found]


class ToldArena:
    """An arena that does as it is told before it restores."""

    def __init__(self, arena, orders):
        self._arena = arena
        self._orders = orders

    def __getattr__(self, name):
        return getattr(self._arena, name)

    def restore(self, slot, arrays):
        self._orders.obey("restore")
        self._arena.restore(slot, arrays)


class ToldHost:
    """Streams that do as they are told. What breaks a call does so after all slots were written."""

    def __init__(self, host, orders):
        self._host = host
        self._orders = orders
        self.arena = ToldArena(host.arena, orders)

    def run(self, steps):
        self._orders.obey("step")
        answers = self._host.run(steps)
        faults = faults_in(steps)
        self._orders.note(STEPS, f"{len(steps)} {'broken' if faults else 'well'}")
        for fault in faults:
            self._orders.suffer(fault)
        return [self._spoiled(step, one) for step, one in zip(steps, answers, strict=True)]

    def _spoiled(self, step, answer):
        """Leaves numbers that are none in a row that asks for it: in its slot and its forecast."""
        if not (step.values == NAN_MAKER).any():
            return answer
        arrays = self.arena.export(step.slot)
        for array in arrays.values():
            if array.dtype.kind == "f":
                array[...] = np.nan
        spoil(self.arena, step.slot, arrays)
        if answer.forecast is None:
            return replace(answer, error=ModelFailed("values", "a finite state", "NaN"))
        nothing = np.full_like(answer.forecast.mean, np.nan)
        return replace(answer, forecast=replace(answer.forecast, mean=nothing))


def spoil(arena, slot, arrays):
    """Puts numbers into a slot that no snapshot may hold."""
    own = arena._arena
    if hasattr(own, "state"):
        own.state[slot] = np.nan
        return
    for name, array in own._arrays.items():
        if array.dtype.kind == "f":
            array[slot] = arrays[name]


class ToldModel:
    """A model that does as it is told."""

    def __init__(self, model, orders, name):
        self._model = model
        self._orders = orders
        self.name = name
        self.version = model.version
        self.identity = f"{name}@{model.version}"

    def __getattr__(self, name):
        return getattr(self._model, name)

    def describe(self):
        return {**self._model.describe(), "name": self.name}

    def forecast(self, histories, horizon, quantile_levels):
        self._orders.obey("call")
        for value, fault in FAULTS.items():
            if any(history[-1] == value for history in histories):
                self._orders.suffer(fault)
        return self._model.forecast(histories, horizon, quantile_levels)

    def streams(self, slots):
        self._orders.obey("open")
        return ToldHost(self._model.streams(slots), self._orders)


def load(folder, name="told", base=""):
    """Loads a model that obeys.

    Args:
      folder: of its orders.
      name: of the model.
      base: name of the forecaster that computes; empty is one that only echoes.
    """
    orders = Orders(folder)
    orders.note(LOADED, f"{time.monotonic()!r} {os.getpid()}")
    orders.obey("load")
    if not base:
        return ToldModel(FakeStreamModel(name=name), orders, name)
    from xlstmd.models.forecaster import load_forecaster

    return ToldModel(load_forecaster(base, threads=1), orders, name)
