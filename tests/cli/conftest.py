"""A command line whose forecaster echoes, so that no weights are needed."""

from dataclasses import dataclass

import pytest

from tests.fakes import EchoModel
from xlstmd.cli import forecast, main


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def echo(monkeypatch):
    """Puts the echo in the place of every forecaster, and gives it."""
    model = EchoModel()
    model.asked_for = []

    def load(name=None, **_):
        model.asked_for.append(name)
        return model

    monkeypatch.setattr(forecast, "load_forecaster", load)
    return model


@pytest.fixture
def cli(echo, capfdbinary, monkeypatch):
    """Gives a function that runs a command."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        capfdbinary.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfdbinary.readouterr()
        return Ended(code=code, out=out.decode(), err=err.decode())

    return run
