"""F8: no lane can be brought back: the daemon says so, lives on, and tries again and again."""

import os
import random
import signal
import time
from itertools import pairwise

import pytest

from tests.chaos.daemon import until
from tests.chaos.lanes import Told, assert_no_process_left, command_of, forecast, ready_again

# Slots that only echo are tiny: some thousands of them.
SESSION_BYTES = 2**17
LONGEST_S = 0.5
TRIES = 4
AT_ONCE_S = 1.0
# A process that only echoes is there in less.
LAUNCH_S = 1.5


@pytest.fixture
def models(tmp_path):
    return [Told(tmp_path / name, name) for name in ("one", "two")]


@pytest.mark.parametrize("fault", ["raise", "exit"])
def test_f08_ready_only_while_every_lane_can_compute(new_daemon, models, fault):
    daemon = new_daemon(
        command=command_of(*models, is_alone=True, longest_s=LONGEST_S), session_bytes=SESSION_BYTES
    )
    daemon.start()
    daemon.note_baseline()
    rng = random.Random(8)
    for model in models:
        model.tell(load=fault)
    rng.shuffle(models)
    for model in models:
        os.kill(model.pid, signal.SIGKILL)
    died_at = time.monotonic()
    until(lambda: daemon.probe("/readyz") == 503, AT_ONCE_S)
    noticed_s = time.monotonic() - died_at
    while min(len(model.loads) for model in models) < 2 + TRIES:
        assert time.monotonic() < died_at + TRIES * (LONGEST_S + LAUNCH_S)
        assert daemon.probe("/readyz") == 503
        assert daemon.probe("/livez") == 200
        answer = forecast(daemon, series=[[1.0]], horizon=1)
        assert (answer.status_code, answer.json()["code"]) == (503, "lane_down")
        assert int(answer.headers["retry-after"]) >= 1
        time.sleep(0.1)
    assert daemon.total("xlstmd_lane_restarts_total") == 0
    for model in models:
        check_pauses([moment for moment, _ in model.loads[1:]])
        model.relieve("load")
    took = ready_again(daemon, LONGEST_S + LAUNCH_S + 2.0)
    print(f"\nF8: {fault}: unready {1000 * noticed_s:.0f} ms after both died, ", end="")
    print(
        f"{[len(model.loads) - 2 for model in models]} tries, ready {took:.2f} s after it could be"
    )
    for model in models:
        assert daemon.total("xlstmd_lane_restarts_total", model=model.name) == 1
        assert forecast(daemon, series=[[1.0]], horizon=1, model=model.name).status_code == 200
    assert_no_process_left(daemon, len(models))
    daemon.assert_calm()


def check_pauses(moments):
    """Holds tries to pauses that grow, and not beyond their bound."""
    pauses = [after - before for before, after in pairwise(moments)]
    assert pauses[-1] > pauses[0]
    assert min(pauses[-2:]) >= 0.5 * LONGEST_S
    assert max(pauses) <= LONGEST_S + LAUNCH_S, pauses
