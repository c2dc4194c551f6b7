"""Measures what a lane costs: the time of the way to a model and back, and memory.

    python -m benchmarks.lanes [--model NAME_OR_PATH] [--rounds N]

Each order is carried out by the model itself, by a lane that is a thread and by one that is a
process, one after the other, round after round; the way is the rest of the time.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    rows_table,
    write_report,
)
from xlstmd.engine.lane import Lane, ThreadLane
from xlstmd.engine.lane_worker import LaneWorker
from xlstmd.engine.model_source import ModelSource
from xlstmd.engine.orders import Forecast, Move, OpenSlots, Order, TakeSteps
from xlstmd.engine.process_lane import ProcessLane
from xlstmd.errors import XlstmdError
from xlstmd.models.predictor import DEFAULT_LEVELS
from xlstmd.models.stream_step import StreamStep

SLOTS = 64
HISTORY = 512
HORIZON = 24
MICRO = 1e6
MEGA = 1e6


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lanes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="NAME_OR_PATH")
    parser.add_argument("--rounds", type=int, default=2000, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS / "lanes.json", metavar="FILE")
    options = parser.parse_args(arguments)
    source = ModelSource(
        loader="xlstmd.models.forecaster:load_forecaster",
        arguments={"name_or_path": options.model, "threads": 1},
    )
    try:
        rows = asyncio.run(measured(source, options.rounds))
    except (BenchmarkError, XlstmdError) as error:
        console().print(str(error), markup=False)
        return EXIT_COULD_NOT_RUN
    console().print(rows_table(rows, "Lanes, one thread for the model"))
    console().print(f"Wrote {write_report(rows, options.output).name}.")
    return 0


async def measured(source: ModelSource, rounds: int) -> list[Row]:
    """Gives the times of all orders, and the memory of the process."""
    model = source.load()
    if not hasattr(model, "streams"):
        raise BenchmarkError(f"{model.identity} cannot be fed point by point")
    worker, thread, process = LaneWorker(model), ThreadLane(model), ProcessLane(source)
    worker.do(OpenSlots(SLOTS))
    for lane in (thread, process):
        lane.start(lambda: None)
        await lane.call(OpenSlots(SLOTS))
    rows = []
    for name, order in orders().items():
        rows += await timed(name, order, worker, {"thread": thread, "process": process}, rounds)
    resident = resident_mb(process.pid)
    rows.append(Row(id="process-resident", value=resident, unit="MB", better="lower"))
    rows.append(Row(id="process-own", value=private_mb(process.pid), unit="MB", better="lower"))
    for lane in (thread, process):
        await lane.stop(1.0)
    return rows


def orders() -> dict[str, Order]:
    """Gives the orders by name."""
    rng = np.random.default_rng(0)
    history = rng.normal(size=HISTORY)
    return {
        "forecast-1": Forecast([history], HORIZON, DEFAULT_LEVELS),
        "forecast-64": Forecast([history] * SLOTS, HORIZON, DEFAULT_LEVELS),
        "step-1": TakeSteps(moves(1, 0)),
        "step-64": TakeSteps(moves(SLOTS, 0)),
        "step-64-forecast": TakeSteps(moves(SLOTS, HORIZON)),
    }


def moves(count: int, horizon: int) -> list[Move]:
    """Gives steps of one point each, of streams that go on."""
    return [
        Move(
            slot,
            StreamStep(
                slot=slot,
                values=np.array([0.1 * slot]),
                horizon=horizon,
                quantile_levels=DEFAULT_LEVELS,
                anomaly_rate=None,
            ),
        )
        for slot in range(count)
    ]


async def timed(
    name: str, order: Order, worker: LaneWorker, lanes: dict[str, Lane], rounds: int
) -> list[Row]:
    """Gives the median time of an order without a lane, and what each lane adds."""
    bare: list[float] = []
    added: dict[str, list[float]] = {kind: [] for kind in lanes}
    for _ in range(rounds if name.endswith("1") else max(rounds // 10, 1)):
        begin = time.perf_counter()
        worker.do(order)
        bare.append(time.perf_counter() - begin)
        for kind, lane in lanes.items():
            begin = time.perf_counter()
            await lane.call(order)
            added[kind].append(time.perf_counter() - begin)
    middle = float(np.median(bare))
    rows = [Row(id=f"{name}-model", value=MICRO * middle, unit="us", better="lower")]
    for kind, times in added.items():
        quarters = np.percentile(np.array(times) - middle, [25, 50, 75]) * MICRO
        rows.append(
            Row(
                id=f"{name}-{kind}-adds",
                value=float(quarters[1]),
                unit="us",
                better="lower",
                spread=(float(quarters[0]), float(quarters[2])),
            )
        )
    return rows


def resident_mb(pid: int) -> float:
    """Gives the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / MEGA


def private_mb(pid: int) -> float:
    """Gives the part of it that no other process shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    own = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(own) * 1024 / MEGA


if __name__ == "__main__":
    sys.exit(main())
