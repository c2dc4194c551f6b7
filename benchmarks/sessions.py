"""Measures an engine with many sessions: bytes, latencies of steady load, restores, churn.

    python -m benchmarks.sessions [--sessions N] [--active N] [--seconds S] [--churn N]

The model in a process with one thread, a store on disk, no HTTP: whoever asks shares the process,
the thread and the event loop of the engine. Memory is that of both processes. Steps arrive at
fixed moments whether or not the ones before are answered, and their latency counts from those
moments.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    rows_table,
    write_report,
)
from xlstmd.engine.engine import Engine
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.session_tasks import AppendTask, Sessions
from xlstmd.engine.settings import EngineSettings
from xlstmd.engine.sqlite_store import SqliteStore
from xlstmd.engine.store_folder import StoreFolder
from xlstmd.errors import XlstmdError

POINTS = 64
RATE_HZ = 10.0
AT_ONCE = 200
WARM_UP_S = 1.0
RESTORES = 500
MILLI = 1000.0
MEGA = 1e6

# A step that takes longer than the time to the next one of its session is late.
LATE_S = 1.0 / RATE_HZ
RESTORE_GOAL_MS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything.

    Args:
      sessions: that there are.
      active: of them that are fed, ten times a second each.
      seconds: of that.
      churn: sessions that are created and ended.
    """

    sessions: int
    active: int
    seconds: float
    churn: int


class Client:
    """Feeds sessions by their numbers."""

    def __init__(self, sessions: Sessions) -> None:
        """Starts before the first request of each."""
        self._sessions = sessions
        self._seq: dict[int, int] = {}
        self._points = np.random.default_rng(0).normal(size=POINTS)

    async def feed(self, number: int, count: int) -> None:
        """Appends some points to a session."""
        seq = self._seq.get(number, 0) + 1
        task = AppendTask(
            key=session_key(number),
            seq=seq,
            values=self._points[:count],
            request_hash=f"{number}/{seq}".encode(),
        )
        await self._sessions.append(task)
        self._seq[number] = seq

    async def end(self, number: int) -> None:
        """Ends a session."""
        await self._sessions.end(session_key(number))
        del self._seq[number]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="NAME_OR_PATH")
    parser.add_argument("--sessions", type=int, default=10_000, metavar="N")
    parser.add_argument("--active", type=int, default=1_000, metavar="N")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S")
    parser.add_argument("--churn", type=int, default=100_000, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS / "sessions.json", metavar="FILE")
    options = parser.parse_args(arguments)
    plan = Plan(
        sessions=options.sessions,
        active=options.active,
        seconds=options.seconds,
        churn=options.churn,
    )
    try:
        source = ModelSource(
            loader="xlstmd.models.forecaster:load_forecaster",
            arguments={"name_or_path": options.model, "threads": 1},
        )
        rows = [
            *uvloop.run(steady(source, plan)),
            *uvloop.run(restores(source)),
            *uvloop.run(churned(source, plan)),
        ]
    except (BenchmarkError, XlstmdError) as error:
        console().print(str(error), markup=False)
        return EXIT_COULD_NOT_RUN
    console().print(rows_table(rows, "Sessions, a process for the model, a store on disk"))
    console().print(f"Wrote {write_report(rows, options.output).name}.")
    return 0


async def steady(source: ModelSource, plan: Plan) -> list[Row]:
    """Creates all sessions and feeds some of them at a steady rate."""
    lane = ProcessLane(source)
    slot_bytes = slot_bytes_of(lane)
    with tempfile.TemporaryDirectory() as folder:
        before = resident_mb(lane)
        engine = await started(lane, folder, plan.sessions)
        client = Client(engine.sessions)
        for first in range(0, plan.sessions, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, plan.sessions))
            await asyncio.gather(*(client.feed(number, POINTS) for number in numbers))
        grown = resident_mb(lane) - before
        # Those that were just made are written by now, as after hours of work.
        await engine.sessions.keep()
        latencies: list[float] = []
        start = time.perf_counter() + WARM_UP_S
        await asyncio.gather(
            *(tick(client, number, start, plan, latencies) for number in range(plan.active))
        )
        await engine.drain(60.0)
    announced = plan.sessions * slot_bytes / MEGA
    name = f"sessions-{plan.active}-at-{RATE_HZ:g}hz"
    middle, tail = (MILLI * float(np.percentile(latencies, part)) for part in (50, 99))
    late = 100.0 * float(np.mean(np.array(latencies) > LATE_S))
    return [
        Row(id=f"sessions-{plan.sessions}-announced", value=announced, unit="MB", better="lower"),
        Row(id=f"sessions-{plan.sessions}-resident", value=grown, unit="MB", better="lower"),
        Row(id=f"{name}-p50", value=middle, unit="ms", better="lower"),
        Row(id=f"{name}-p99", value=tail, unit="ms", better="lower"),
        Row(id=f"{name}-late", value=late, unit="%", better="lower"),
        Row(id=f"{name}-slowest", value=MILLI * max(latencies), unit="ms", better="lower"),
    ]


async def tick(
    client: Client, number: int, start: float, plan: Plan, latencies: list[float]
) -> None:
    """Feeds one session at fixed moments, staggered against the others."""
    first = start + number / (plan.active * RATE_HZ)
    for turn in range(int(plan.seconds * RATE_HZ)):
        due = first + turn / RATE_HZ
        await asyncio.sleep(max(due - time.perf_counter(), 0.0))
        await client.feed(number, 1)
        latencies.append(time.perf_counter() - due)


async def restores(source: ModelSource) -> list[Row]:
    """Times steps of sessions that lie in the store alone."""
    with tempfile.TemporaryDirectory() as folder:
        engine = await started(ProcessLane(source), folder, RESTORES // 2)
        client = Client(engine.sessions)
        for number in range(RESTORES):
            await client.feed(number, POINTS)
        times = []
        for number in range(RESTORES):
            begin = time.perf_counter()
            await client.feed(number, 1)
            times.append(time.perf_counter() - begin)
        await engine.drain(60.0)
    middle, tail = (MILLI * float(np.percentile(times, part)) for part in (50, 99))
    return [
        Row(id="restore-and-step-p50", value=middle, unit="ms", better="lower"),
        Row(
            id="restore-and-step-p99",
            value=tail,
            unit="ms",
            better="lower",
            goal=RESTORE_GOAL_MS,
        ),
    ]


async def churned(source: ModelSource, plan: Plan) -> list[Row]:
    """Creates and ends sessions, and looks at the memory of both processes."""
    lane = ProcessLane(source)
    with tempfile.TemporaryDirectory() as folder:
        engine = await started(lane, folder, AT_ONCE)
        client = Client(engine.sessions)
        sizes = []
        for first in range(0, plan.churn, AT_ONCE // 2):
            numbers = range(first, first + AT_ONCE // 2)
            await asyncio.gather(*(client.feed(number, 1) for number in numbers))
            await asyncio.gather(*(client.end(number) for number in numbers))
            sizes.append(resident_mb(lane))
        await engine.drain(60.0)
    tenth = max(len(sizes) // 10, 1)
    growth = float(np.median(sizes[-tenth:]) - np.median(sizes[tenth : 2 * tenth]))
    return [Row(id=f"churn-{plan.churn}-growth", value=growth, unit="MB", better="lower")]


async def started(lane: ProcessLane, folder: str, sessions: int) -> Engine:
    """Gives a running engine with slots for so many sessions and a store in the folder."""
    settings = EngineSettings(session_bytes=sessions * slot_bytes_of(lane))
    store = SqliteStore(StoreFolder(Path(folder)))
    engine = Engine([lane], settings, store=store)
    await engine.start()
    return engine


def session_key(number: int) -> SessionKey:
    """Names a session."""
    return SessionKey("benchmark", "forecast", f"s{number}")


def slot_bytes_of(lane: ProcessLane) -> int:
    """Gives the bytes of one session."""
    if lane.model.slot_bytes is None:
        raise BenchmarkError(f"{lane.model.identity} cannot be fed point by point")
    return lane.model.slot_bytes


def resident_mb(lane: ProcessLane) -> float:
    """Gives the resident memory of this process and the model's."""
    files = [Path(f"/proc/{pid}/statm") for pid in (os.getpid(), lane.pid)]
    pages = sum(int(file.read_text(encoding="ascii").split()[1]) for file in files)
    return pages * 4096 / MEGA


if __name__ == "__main__":
    sys.exit(main())
