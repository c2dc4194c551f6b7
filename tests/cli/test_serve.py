"""Where the daemon's settings come from."""

import os
import stat
from typing import get_args

import pytest

from xlstmd.cli import options, serve
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import ConfigError
from xlstmd.models import runtime
from xlstmd.ops.native_handle import Precision
from xlstmd.server import settings as settings_module


@pytest.fixture
def served(monkeypatch, tmp_path):
    """Gives the calls of the daemon."""
    calls = []
    monkeypatch.setattr(
        serve.serve, "run", lambda *call, state_dir: calls.append((*call, state_dir))
    )
    for name in ("CONFIG", "PORT", "STATE_DIR", "MODEL"):
        monkeypatch.delenv(f"XLSTMD_{name}", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "user"))
    return calls


def test_the_defaults_serve_the_default_model(cli, served, tmp_path):
    assert cli("serve").code == 0
    (source,), settings, state_dir = served[0]
    assert state_dir == tmp_path / "user" / "xlstmd"
    assert (settings.host, settings.port) == ("127.0.0.1", 8884)
    assert source.arguments["name_or_path"] is None
    assert source.load().name == "small"


def test_flags_win_over_variables_and_those_over_the_file(cli, served, tmp_path, monkeypatch):
    config = tmp_path / "xlstmd.toml"
    config.write_text('port = 1\nmodel = "file"\nlog_level = "error"\nmax_series = 7\n')
    monkeypatch.setenv("XLSTMD_PORT", "2")
    monkeypatch.setenv("XLSTMD_MODEL", "variable")
    cli("serve", "--config", config, "--port", 3)
    (source,), settings, _ = served[0]
    assert (settings.port, settings.log_level, settings.max_series) == (3, "error", 7)
    assert source.arguments["name_or_path"] == "variable"


@pytest.mark.parametrize("way", ["--state-dir", "XLSTMD_STATE_DIR", "STATE_DIRECTORY"])
def test_the_state_folder_is_made_for_the_user_alone(cli, served, tmp_path, monkeypatch, way):
    folder = tmp_path / "a" / "state"
    if not way.startswith("--"):
        monkeypatch.setenv(way, str(folder))
    assert cli("serve", *([way, folder] if way.startswith("--") else [])).code == 0
    assert served[0][2] == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_state_folder_that_cannot_be_is_4(cli, served, tmp_path):
    (tmp_path / "file").write_text("")
    ended = cli("serve", "--state-dir", tmp_path / "file")
    assert ended.code == 4
    assert ended.err.startswith("xlstmd: state_dir: expected a folder that can be written")
    assert served == []


def test_a_port_that_is_taken_is_4(cli, served, monkeypatch):
    def fail(*_, **__):
        raise ConfigError("port: expected a free port, got 8884 (Address already in use)")

    monkeypatch.setattr(serve.serve, "run", fail)
    ended = cli("serve")
    assert ended.code == 4
    assert ended.err.startswith("xlstmd: port: expected a free port")


@pytest.mark.parametrize("lanes", settings_module.LANES)
def test_a_model_that_is_not_there_is_4(cli, monkeypatch, tmp_path, lanes):
    monkeypatch.setenv("XLSTMD_LANES", lanes)
    ended = cli("serve", "--model", "none", "--port", 0, "--state-dir", tmp_path)
    assert ended.code == 4
    assert "xlstmd: model: expected " in ended.err
    assert "Traceback" not in ended.err


def test_names_of_runtimes_and_precisions_are_those_of_the_models():
    assert options.PRECISIONS == settings_module.PRECISIONS == get_args(Precision)
    assert tuple(entry.name for entry in runtime._RUNTIMES) == settings_module.RUNTIMES


def test_a_state_folder_in_use_is_4_and_says_whose(cli, tmp_path):
    holder = StoreFolder(tmp_path / "state")
    holder.lock()
    try:
        ended = cli("serve", "--state-dir", tmp_path / "state", "--port", 0)
    finally:
        holder.unlock()
    assert ended.code == 4
    assert ended.err.startswith("xlstmd: state_dir: expected a folder that no other daemon uses")
    assert f"in use by process {os.getpid()}" in ended.err
