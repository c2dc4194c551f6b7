"""Measures what streaming saves: points into a stream beside encoding its history again.

    python -m benchmarks.stream [--model NAME_OR_PATH] [--rounds N] [--output FILE]

One thread. Both sides of a ratio take turns; figures are medians over the turns, spreads their
range. A forecast of a stream has to be that of its history before anything is timed. Costs per
point are averages over whole periods of the scale's renewals, so that encoding anew is in them.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    rows_table,
    write_report,
)
from xlstmd.errors import XlstmdError
from xlstmd.models.forecaster import Forecaster, ForecastStream, load_forecaster
from xlstmd.models.stream import Streams
from xlstmd.models.stream_step import StreamStep

Floats = NDArray[np.float64]

STREAMS = 256
HISTORY = 2048
LEVELS = (0.1, 0.5, 0.9)
LENGTHS = (10_000, 100_000, 1_000_000)
TOLERANCE = 1e-5

# Taking a patch in may cost this much more than its share of encoding the history.
PATCH_SHARE = 0.7
POINT_GOAL = 20.0
FLAT = 1.05
FLAT_TAIL = 1.25


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="NAME_OR_PATH")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS / "stream.json", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        forecaster = load_forecaster(options.model, threads=1)
        if not isinstance(forecaster, Forecaster):
            raise BenchmarkError(f"{forecaster.identity} cannot be fed point by point")
        rows = [
            *size_rows(forecaster),
            *patch_rows(forecaster, options.rounds),
            batch_point_row(forecaster, options.rounds),
            *point_rows(forecaster, options.rounds),
            *length_rows(forecaster, options.rounds),
        ]
    except (BenchmarkError, XlstmdError) as error:
        console().print(str(error), markup=False)
        return EXIT_COULD_NOT_RUN
    console().print(rows_table(rows, "Streams, one thread; ours and peer in us"))
    console().print(f"Wrote {write_report(rows, options.output).name}.")
    return 0


def size_rows(forecaster: Forecaster) -> list[Row]:
    """Gives the bytes of a stream."""
    kilobytes = forecaster.slot_bytes / 1000.0
    return [Row(id="stream-bytes", value=kilobytes, unit="kB", better="lower")]


def patch_rows(forecaster: Forecaster, rounds: int) -> list[Row]:
    """Compares a full patch into each of many streams with encoding their histories in a batch.

    A renewal of a scale encodes a part of the history anew. Of streams with one and the same series
    all have it in the same calls: the first row is that of the other calls. The second one is the
    average over all calls with different series.
    """
    alike = [sample(HISTORY + rounds * period(forecaster), seed=0)] * STREAMS
    different = [sample(len(alike[0]), seed) for seed in range(STREAMS)]
    name = f"patch-b{STREAMS}"
    goal = PATCH_SHARE * (HISTORY // forecaster.config.patch_length)
    return [
        patch_row(forecaster, name, alike, with_renewals=False, goal=goal),
        patch_row(forecaster, f"{name}-with-renewals", different, with_renewals=True, goal=None),
    ]


def patch_row(
    forecaster: Forecaster,
    name: str,
    series: Sequence[Floats],
    *,
    with_renewals: bool,
    goal: float | None,
) -> Row:
    """Feeds all series patch by patch, a period of renewals a turn."""
    patch = forecaster.config.patch_length
    streams = forecaster.streams(STREAMS)
    streams.run(portions(series, 0, HISTORY))
    parity = streams_parity(forecaster, streams, series)
    at, turns = HISTORY, []
    while at < len(series[0]):
        histories = [each[at - HISTORY : at] for each in series]
        again = seconds(lambda histories=histories: forecaster.forecast(histories, 1, LEVELS))
        taken, is_plain = [], []
        for _ in range(period(forecaster) // patch):
            before = streams.arena.encoded.copy()
            steps = portions(series, at, at + patch)
            taken.append(seconds(lambda steps=steps: streams.run(steps)))
            # A renewal leaves another number of tokens behind.
            is_plain.append(bool((streams.arena.encoded == before + 1).all()))
            at += patch
        ours = np.mean(taken) if with_renewals else np.median(np.array(taken)[is_plain])
        turns.append((float(ours) / STREAMS, again / STREAMS))
    return ratio_row(name, turns, goal=goal, peer="encoding again", parity=parity)


def batch_point_row(forecaster: Forecaster, rounds: int) -> Row:
    """Compares a point and a forecast of each of many streams with forecasts of their histories."""
    horizon, count = forecaster.config.patch_length, forecaster.config.patch_length
    series = [sample(HISTORY + count * (rounds + 1), seed) for seed in range(STREAMS)]
    streams = forecaster.streams(STREAMS)
    streams.run(portions(series, 0, HISTORY))
    parity = streams_parity(forecaster, streams, series)
    at, turns = HISTORY, []
    for _ in range(rounds):
        histories = [each[at - HISTORY : at] for each in series]
        again = seconds(lambda histories=histories: forecaster.forecast(histories, horizon, LEVELS))
        ahead = []
        for _ in range(count):
            steps = portions(series, at, at + 1, horizon)
            ahead.append(seconds(lambda steps=steps: streams.run(steps)))
            at += 1
        turns.append((float(np.mean(ahead)) / STREAMS, again / STREAMS))
    name = f"point-and-forecast-b{STREAMS}"
    return ratio_row(name, turns, POINT_GOAL, "encoding again", parity)


def point_rows(forecaster: Forecaster, rounds: int) -> list[Row]:
    """Compares a point and a forecast with a forecast of the history."""
    series = sample(HISTORY + 2000 * (rounds + 1), 1)
    stream = forecaster.stream()
    stream.append(series[:HISTORY])
    horizon = forecaster.config.patch_length
    turns, at = [], HISTORY
    parity = distance(forecaster, stream, series[:at])
    for _ in range(rounds):
        history = series[at - HISTORY : at]
        again = [
            seconds(lambda history=history: forecaster.forecast([history], horizon, LEVELS))
            for _ in range(5)
        ]
        count = period(forecaster)
        costs = [step_seconds(stream, value, horizon) for value in series[at : at + count]]
        at += count
        turns.append((float(np.mean(costs)), float(np.median(again))))
    rows = [ratio_row("point-and-forecast", turns, POINT_GOAL, "encoding again", parity)]
    theirs = tirex_seconds(series[:HISTORY], horizon)
    if theirs is not None:
        ours = [own for own, _ in turns]
        both = [(own, theirs) for own in ours]
        rows.append(
            ratio_row("point-and-forecast-tirex", both, POINT_GOAL, "tirex-ts, 35 M weights", None)
        )
    return rows


def length_rows(forecaster: Forecaster, rounds: int) -> list[Row]:
    """Measures the cost of a point and a forecast after ever longer histories."""
    count, horizon = period(forecaster), forecaster.config.patch_length
    streams, parity = {}, {}
    for length in LENGTHS:
        streams[length] = forecaster.stream()
        streams[length].append(history := sample(length, 2))
        parity[length] = distance(forecaster, streams[length], history)
    means: dict[int, list[float]] = {length: [] for length in LENGTHS}
    every: dict[int, list[float]] = {length: [] for length in LENGTHS}
    for turn in range(rounds):
        values = sample(count, 100 + turn)
        for length, stream in streams.items():
            costs = [step_seconds(stream, value, horizon) for value in values]
            means[length].append(float(np.mean(costs)))
            every[length] += costs
    rows: list[Row] = []
    for length in LENGTHS:
        rows += cost_rows(f"history-{length}", means[length], every[length], parity[length])
        if length != LENGTHS[0]:
            first = LENGTHS[0]
            ratios = [own / other for own, other in zip(means[length], means[first], strict=True)]
            tails = float(np.percentile(every[length], 99) / np.percentile(every[first], 99))
            rows += growth_rows(f"history-{length}", ratios, tails)
    return rows


def cost_rows(
    name: str, means: Sequence[float], every: Sequence[float], parity: float
) -> list[Row]:
    """Gives the costs after one history, in microseconds."""
    micro = 1e6
    mean, slowest = micro * float(np.median(means)), micro * max(every)
    tail = micro * float(np.percentile(every, 99))
    spread = (micro * min(means), micro * max(means))
    return [
        Row(
            id=f"{name}-mean",
            value=mean,
            unit="us",
            better="lower",
            spread=spread,
            parity=parity,
            tolerance=TOLERANCE,
        ),
        Row(id=f"{name}-p99", value=tail, unit="us", better="lower"),
        Row(id=f"{name}-slowest", value=slowest, unit="us", better="lower"),
    ]


def growth_rows(name: str, ratios: Sequence[float], tails: float) -> list[Row]:
    """Gives the costs beside those after the shortest history."""
    mean, spread = float(np.median(ratios)), (min(ratios), max(ratios))
    return [
        Row(
            id=f"{name}-mean-growth",
            value=mean,
            unit="times",
            better="lower",
            goal=FLAT,
            spread=spread,
        ),
        Row(id=f"{name}-p99-growth", value=tails, unit="times", better="lower", goal=FLAT_TAIL),
    ]


def period(forecaster: Forecaster) -> int:
    """Gives points between two renewals of the scale of a steady series."""
    return forecaster.config.context_length // 2


def sample(length: int, seed: int) -> Floats:
    """Gives a series with a season and noise."""
    rng = np.random.default_rng(seed)
    season: Floats = 10.0 + np.sin(np.arange(length) * (2.0 * np.pi / 48.0) + seed)
    return season + 0.3 * rng.normal(size=length)


def portions(series: Sequence[Floats], start: int, end: int, horizon: int = 0) -> list[StreamStep]:
    """Gives a step with some points for each stream, and a forecast where a horizon is given."""
    return [
        StreamStep(slot=slot, values=each[start:end], horizon=horizon, quantile_levels=LEVELS)
        for slot, each in enumerate(series)
    ]


def seconds(work: Callable[[], object]) -> float:
    """Times one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def step_seconds(stream: ForecastStream, value: float, horizon: int) -> float:
    """Times a point in and a forecast out."""
    start = time.perf_counter()
    stream.append([value])
    stream.forecast(horizon, LEVELS)
    return time.perf_counter() - start


def streams_parity(forecaster: Forecaster, streams: Streams, series: Sequence[Floats]) -> float:
    """Gives the distance of the streams' forecasts from those of the histories."""
    steps = [
        StreamStep(slot=slot, values=np.empty(0), horizon=8, quantile_levels=LEVELS)
        for slot in range(STREAMS)
    ]
    forecasts = [answer.forecast for answer in streams.run(steps)]
    mine = np.concatenate([each.quantiles for each in forecasts if each is not None])
    whole = forecaster.forecast([each[:HISTORY] for each in series], 8, LEVELS).quantiles
    return float(np.abs(mine - whole).max() / np.std(whole))


def distance(forecaster: Forecaster, stream: ForecastStream, history: Floats) -> float:
    """Gives the distance of a stream's forecast from that of its history, in its spread."""
    whole = forecaster.forecast([history], 8, LEVELS).quantiles
    return float(np.abs(stream.forecast(8, LEVELS).quantiles - whole).max() / np.std(whole))


def tirex_seconds(history: Floats, horizon: int) -> float | None:
    """Times the forecast of `tirex-ts` at its published size; None where it is not installed."""
    try:
        import torch

        from benchmarks.cpu.peers import tirex_network
        from benchmarks.cpu.tirex import SHAPE
    except ImportError:
        return None
    torch.set_num_threads(1)
    model, context = tirex_network(**SHAPE), torch.from_numpy(history[None].astype(np.float32))
    times = [seconds(lambda: model.forecast(context, prediction_length=horizon)) for _ in range(4)]
    return float(np.median(times[1:]))


def ratio_row(
    name: str,
    turns: Sequence[tuple[float, float]],
    goal: float | None,
    peer: str,
    parity: float | None,
) -> Row:
    """Makes a row of `(ours, peer)` seconds."""
    ours, theirs = (float(np.median(side)) for side in zip(*turns, strict=True))
    ratios = [other / own for own, other in turns]
    return Row(
        id=f"stream-{name}",
        value=float(np.median(ratios)),
        unit="ratio",
        better="higher",
        goal=goal,
        ours=1e6 * ours,
        peer=1e6 * theirs,
        peer_name=peer,
        spread=(min(ratios), max(ratios)),
        parity=parity,
        tolerance=None if parity is None else TOLERANCE,
    )


if __name__ == "__main__":
    sys.exit(main())
