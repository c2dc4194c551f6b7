"""Where the daemon's settings come from."""

import stat
from typing import get_args

import pytest

from xlstmd.cli import options, serve
from xlstmd.errors import CheckpointError, ConfigError
from xlstmd.models import runtime
from xlstmd.ops.native_handle import Precision
from xlstmd.server import settings as settings_module


@pytest.fixture
def served(monkeypatch):
    """Gives the calls of the daemon."""
    calls = []
    monkeypatch.setattr(serve.serve, "run", lambda *call: calls.append(call))
    for name in ("XLSTMD_CONFIG", "XLSTMD_PORT", "XLSTMD_STATE_DIR", "XLSTMD_MODEL"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_the_defaults_serve_the_default_model(cli, served, echo):
    assert cli("serve").code == 0
    models, settings = served[0]
    assert models == {"echo": echo}
    assert (settings.host, settings.port) == ("127.0.0.1", 8884)
    assert echo.asked_for == [None]


def test_flags_win_over_variables_and_those_over_the_file(cli, served, echo, tmp_path, monkeypatch):
    config = tmp_path / "xlstmd.toml"
    config.write_text('port = 1\nmodel = "file"\nlog_level = "error"\nmax_series = 7\n')
    monkeypatch.setenv("XLSTMD_PORT", "2")
    monkeypatch.setenv("XLSTMD_MODEL", "variable")
    cli("serve", "--config", config, "--port", 3)
    settings = served[0][1]
    assert (settings.port, settings.log_level, settings.max_series) == (3, "error", 7)
    assert echo.asked_for == ["variable"]


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_the_state_folder_is_made_for_the_user_alone(cli, served, tmp_path, monkeypatch, way):
    folder = tmp_path / "a" / "state"
    if way == "variable":
        monkeypatch.setenv("XLSTMD_STATE_DIR", str(folder))
    assert cli("serve", *(["--state-dir", folder] if way == "flag" else [])).code == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_state_folder_that_cannot_be_is_4(cli, served, tmp_path):
    (tmp_path / "file").write_text("")
    assert cli("serve", "--state-dir", tmp_path / "file").code == 4
    assert served == []


def test_a_port_that_is_taken_is_4(cli, served, monkeypatch):
    def fail(*_):
        raise ConfigError("port: expected a free port, got 8884 (Address already in use)")

    monkeypatch.setattr(serve.serve, "run", fail)
    ended = cli("serve")
    assert ended.code == 4
    assert ended.err.startswith("xlstmd: port: expected a free port")


def test_a_model_that_is_not_there_is_4(cli, served, monkeypatch):
    def fail(name, **_):
        raise CheckpointError(f"model: expected small, got {name}")

    monkeypatch.setattr(serve, "load_forecaster", fail)
    ended = cli("serve", "--model", "none")
    assert (ended.code, ended.err) == (4, "xlstmd: model: expected small, got none\n")


def test_names_of_runtimes_and_precisions_are_those_of_the_models():
    assert options.PRECISIONS == settings_module.PRECISIONS == get_args(Precision)
    assert tuple(entry.name for entry in runtime._RUNTIMES) == settings_module.RUNTIMES
