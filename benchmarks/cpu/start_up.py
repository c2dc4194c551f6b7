"""Import and load of a forecaster in a fresh process: seconds, and memory that stays resident."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.cpu.peers import named, tirex_network
from benchmarks.cpu.tirex import SHAPE, write_checkpoint
from benchmarks.harness import ROOT, BenchmarkError, Row

# Read from inside, when the model is ready to answer: the interpreter's own start is not counted.
PROBE: Final = """
import time
start = time.perf_counter()
{load}
seconds = time.perf_counter() - start
import json, sys
pages = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(json.dumps([seconds, int(pages[0].split()[1]) / 1024, "torch" in sys.modules]))
"""

OURS: Final = "import xlstmd\nmodel = xlstmd.load_forecaster()"
# The package takes the kind of model from the second part of a relative path.
PEER_FILE: Final = "local/TiRex/model.ckpt"
PEER: Final = f"""
import contextlib, os
from tirex import load_model
with contextlib.redirect_stdout(open(os.devnull, "w")):
    model = load_model("{PEER_FILE}", device="cpu")
"""

SECONDS_GOAL: Final = 0.3
MB_GOAL: Final = 80.0


@dataclass(frozen=True, slots=True)
class Start:
    """One process.

    Args:
      seconds: from the first import to the loaded model.
      mib: resident then.
      torch: whether torch was imported.
    """

    seconds: float
    mib: float
    torch: bool


def measure_start(repetitions: int) -> tuple[list[Row], list[str]]:
    """Starts both in turns; gives rows and remarks.

    Raises:
      BenchmarkError: a process failed.
    """
    ours, peers = [], []
    with TemporaryDirectory() as folder:
        path = Path(folder) / PEER_FILE
        path.parent.mkdir(parents=True)
        write_checkpoint(tirex_network(**SHAPE), path)
        # The first of each reads files that the others find in memory.
        for load, place in ((OURS, ROOT), (PEER, Path(folder))):
            start_once(load, place)
        for _ in range(repetitions):
            ours.append(start_once(OURS, ROOT))
            peers.append(start_once(PEER, Path(folder)))
    notes = []
    if any(start.torch for start in ours):
        notes.append("start-up: our default runtime imported torch")
    return start_rows(ours, peers, named("tirex", "load_model")), notes


def start_once(load: str, folder: Path) -> Start:
    """Runs one probe.

    Raises:
      BenchmarkError: it failed.
    """
    settings = {name: v for name, v in os.environ.items() if not name.startswith("XLSTMD_")}
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(load=load)],
        cwd=folder,
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise BenchmarkError(f"start-up: expected a loaded model, got\n{done.stderr[-2000:]}")
    seconds, mib, torch = json.loads(done.stdout.splitlines()[-1])
    return Start(seconds, mib, torch)


def start_rows(ours: list[Start], peers: list[Start], peer_name: str) -> list[Row]:
    """Gives the two rows."""
    rows = []
    for name, unit, field, goal in (
        ("time", "s", "seconds", SECONDS_GOAL),
        ("memory", "MB", "mib", MB_GOAL),
    ):
        # Megabytes of a million bytes, as the goal has them.
        factor = 1.0 if unit == "s" else 2**20 / 1e6
        own = factor * np.array([getattr(start, field) for start in ours])
        theirs = factor * np.array([getattr(start, field) for start in peers])
        low, high = np.percentile(own, (25.0, 75.0))
        rows.append(
            Row(
                id=f"start-up-{name}",
                value=float(np.median(own)),
                unit=unit,
                better="lower",
                goal=goal,
                ours=float(np.median(own)),
                peer=float(np.median(theirs)),
                peer_name=peer_name,
                spread=(float(low), float(high)),
            )
        )
    return rows
