"""What every case starts from: the shipped model, and daemons that surely end."""

import pytest

from tests.chaos.daemon import COMMAND, Daemon
from xlstmd.models.checkpoint import shipped
from xlstmd.models.forecaster import load_forecaster

if not shipped():
    pytest.skip("needs a shipped model", allow_module_level=True)


@pytest.fixture(scope="session")
def forecaster():
    """Gives the model that the daemons serve, for streams of the test's own."""
    return load_forecaster("small", threads=1)


@pytest.fixture
def new_daemon(tmp_path):
    """Gives a function that makes daemons of one state folder; ends them all at the end."""
    made = []

    def make(*, command=COMMAND, **settings):
        made.append(Daemon(tmp_path / "state", command=command, **settings))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()
