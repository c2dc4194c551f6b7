"""A command line whose forecaster echoes, so that no weights are needed."""

import logging
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


@pytest.fixture(autouse=True)
def _own_logs():
    """Gives loggers back as they were: a command that serves sets them, for streams of its test."""
    logs = [logging.getLogger(name) for name in ("xlstmd", "uvicorn")]
    before = [(log.handlers, log.level, log.propagate) for log in logs]
    yield
    for log, state in zip(logs, before, strict=True):
        log.handlers, log.propagate = state[0], state[2]
        log.setLevel(state[1])


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
