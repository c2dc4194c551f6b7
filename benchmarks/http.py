"""Measures what HTTP adds to a forecast, and what batching across clients gains.

    python -m benchmarks.http [--model NAME_OR_PATH] [--rounds N] [--output FILE]

Started on loopback ports: the daemon, the daemon with one row a batch, and a hello-world of the
same server stack. The load comes from a fourth process. Everything takes turns, so that a slow
minute of the machine hits all alike; figures are medians over the turns, spreads their range.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console

import xlstmd
from benchmarks.evaluator import ForecastCall
from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    rows_table,
    write_report,
)
from benchmarks.load import Job
from benchmarks.processes import LoadGenerator, ServerProcess
from xlstmd.errors import XlstmdError
from xlstmd.train.metrics import QUANTILE_LEVELS, Floats

# How the daemon is started and told apart.
DAEMON = ("-m", "xlstmd", "serve", "--port", "{port}")
MODEL_VARIABLE = "XLSTMD_MODEL"
BATCH_ROWS_VARIABLE = "XLSTMD_MAX_BATCH_ROWS"

PATH = "/api/v1/xlstm/forecast"
POINTS = 96
HORIZON = 24

# A batch may change a row by rounding only.
PARITY_TOLERANCE = 1e-6
PARITY_SERIES = 64

SERVERS = ("batched", "unbatched", "hello")

WARM_UP_REQUESTS = 16
MAX_REQUESTS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured; every part is bounded in count and in time.

    Args:
      rounds: turns.
      requests: in each turn's latency part, one after the other.
      latency_seconds: bound of that part for each of its three sides.
      clients: how many connections at a time in the throughput part.
      throughput_seconds: time for each number of clients and each server.
    """

    rounds: int = 5
    requests: int = 100
    latency_seconds: float = 2.0
    clients: tuple[int, ...] = (1, 16, 64)
    throughput_seconds: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the three servers listen."""

    batched: int
    unbatched: int
    hello: int


@dataclass(frozen=True, slots=True)
class Turns:
    """One quantity, measured in every turn.

    Args:
      samples: of each turn, latencies in ms or one rate.
    """

    samples: list[Floats] = field(default_factory=list)

    def add(self, samples: Sequence[float]) -> None:
        """Keeps the samples of one more turn."""
        self.samples.append(np.array(samples, dtype=np.float64))

    def percentile(self, percent: float) -> float:
        """Gives a percentile over the samples of all turns together."""
        return float(np.percentile(np.concatenate(self.samples), percent))

    def each(self, percent: float) -> Floats:
        """Gives the percentile of each turn."""
        return np.array([np.percentile(turn, percent) for turn in self.samples])


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything measured, before it becomes rows.

    Args:
      latency: side (`bare`, `http`, `hello`) to latencies in ms, one request at a time.
      rate: (server, clients) to requests per second.
      loaded: (server, clients) to latencies in ms under that load.
      generator: clients to the load generator's share of a core.
    """

    latency: defaultdict[str, Turns]
    rate: defaultdict[tuple[str, int], Turns]
    loaded: defaultdict[tuple[str, int], Turns]
    generator: defaultdict[int, Turns]

    @classmethod
    def empty(cls) -> "Measured":
        """Gives one without samples."""
        return cls(*(defaultdict(Turns) for _ in range(4)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", metavar="NAME_OR_PATH", help="default: the default forecaster")
    parser.add_argument("--rounds", type=int, default=Plan().rounds, choices=range(1, 9))
    parser.add_argument(
        "--output", type=Path, metavar="FILE", default=RESULTS / "http.json", help="result file"
    )
    options = parser.parse_args(arguments)
    out = console()
    try:
        rows = run(options.model, Plan(rounds=options.rounds))
        out.print(
            rows_table(rows, f"One series, {POINTS} points, horizon {HORIZON}; spread: the turns")
        )
        out.print(f"Wrote {write_report(rows, options.output).name}.")
    except (BenchmarkError, XlstmdError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_COULD_NOT_RUN
    return 0


def run(model: str | None, plan: Plan) -> list[Row]:
    """Starts all processes, measures and gives the rows.

    Raises:
      BenchmarkError: a server does not start or does not answer as the bare model does.
    """
    # As many threads as the daemon gives its model.
    forecaster = xlstmd.load_forecaster(model, threads=1)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ports = Ports(
            batched=stack.enter_context(daemon(model, f"{folder}/batched", {})),
            unbatched=stack.enter_context(
                daemon(model, f"{folder}/unbatched", {BATCH_ROWS_VARIABLE: "1"})
            ),
            hello=stack.enter_context(
                ServerProcess(["-m", "benchmarks.hello", "--port", "{port}"], ready_path="/")
            ),
        )
        load = stack.enter_context(LoadGenerator())
        parity = check_parity(forecaster.forecast, load, (ports.batched, ports.unbatched))
        measured = measure(forecaster.forecast, load, ports, plan)
    return make_rows(measured, parity)


def daemon(model: str | None, folder: str, settings: dict[str, str]) -> ServerProcess:
    """Describes a daemon with a state folder of its own, and settings beside the defaults."""
    chosen = {} if model is None else {MODEL_VARIABLE: model}
    return ServerProcess(
        DAEMON,
        ready_path="/readyz",
        settings={"XLSTMD_STATE_DIR": folder, **chosen, **settings},
    )


def make_series(count: int) -> list[Floats]:
    """Gives series with a daily shape, a level and noise, all different."""
    rng = np.random.default_rng(0)
    hours = np.arange(POINTS)
    return [
        np.round(
            level + 5.0 * np.sin(2.0 * np.pi * hours / 24.0 + level) + rng.normal(size=POINTS), 3
        )
        for level in rng.uniform(10.0, 100.0, size=count)
    ]


def request_body(series: Floats) -> str:
    """Gives the request for one series."""
    return json.dumps({"series": [series.tolist()], "horizon": HORIZON})


def check_parity(forecast: ForecastCall, load: LoadGenerator, ports: Sequence[int]) -> float:
    """Gives the largest relative difference between served forecasts and those of bare calls.

    Different series are asked for at the same time, so that they meet in batches.
    """
    series = make_series(PARITY_SERIES)
    bare = [forecast([one], HORIZON, QUANTILE_LEVELS).quantiles[0] for one in series]
    difference = 0.0
    for port in ports:
        job = Job(
            port=port,
            method="POST",
            path=PATH,
            bodies=tuple(request_body(one) for one in series),
            clients=len(series),
            max_requests=4 * len(series),
            max_seconds=10.0,
            keep_answers=True,
        )
        for answer, expected in zip(load.run(job).answers, bare, strict=True):
            served = json.loads(answer)["forecasts"][0]["quantiles"]
            got = np.array([served[f"{level:g}"] for level in QUANTILE_LEVELS]).T
            difference = max(
                difference, float(np.max(np.abs(got - expected) / np.abs(expected).max()))
            )
    return difference


def measure(forecast: ForecastCall, load: LoadGenerator, ports: Ports, plan: Plan) -> Measured:
    """Measures latencies and rates in turns."""
    series = make_series(max(plan.clients))
    bodies = tuple(request_body(one) for one in series)
    servers = {
        "batched": ("POST", PATH, bodies, ports.batched),
        "unbatched": ("POST", PATH, bodies, ports.unbatched),
        "hello": ("GET", "/", ("",), ports.hello),
    }

    def job(server: str, clients: int, requests: int, seconds: float) -> Job:
        method, path, texts, port = servers[server]
        return Job(
            port=port,
            method=method,
            path=path,
            bodies=texts,
            clients=clients,
            max_requests=requests,
            max_seconds=seconds,
        )

    def bare() -> None:
        forecast([series[0]], HORIZON, QUANTILE_LEVELS)

    measured = Measured.empty()
    time_calls(bare, WARM_UP_REQUESTS, plan.latency_seconds)
    for server in servers:
        load.run(job(server, 1, WARM_UP_REQUESTS, plan.latency_seconds))
    for _ in range(plan.rounds):
        measured.latency["bare"].add(time_calls(bare, plan.requests, plan.latency_seconds))
        for side, server in (("http", "batched"), ("hello", "hello")):
            outcome = load.run(job(server, 1, plan.requests, plan.latency_seconds))
            measured.latency[side].add(outcome.latencies_ms)
        for clients in plan.clients:
            for server in servers:
                outcome = load.run(job(server, clients, MAX_REQUESTS, plan.throughput_seconds))
                rate = len(outcome.latencies_ms) / outcome.seconds
                measured.rate[server, clients].add([rate])
                measured.loaded[server, clients].add(outcome.latencies_ms)
                if server != "hello":
                    measured.generator[clients].add([100.0 * outcome.cpu_share])
    return measured


def time_calls(call: Callable[[], None], count: int, max_seconds: float) -> list[float]:
    """Gives the time of each call in ms; stops early when the time is over."""
    end = time.perf_counter() + max_seconds
    times: list[float] = []
    while len(times) < count and time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1000.0 * (time.perf_counter() - start))
    return times


def make_rows(measured: Measured, parity: float) -> list[Row]:
    """Turns what was measured into rows; none can be made where parity fails."""
    rows = _latency_rows(measured.latency, parity)
    for clients in sorted(measured.generator):
        rows += _throughput_rows(measured, clients, parity)
    for clients, turns in sorted(measured.generator.items()):
        rows.append(_row(f"load-generator-cpu-{clients}", turns, 50.0, "% of a core"))
    return rows


def _latency_rows(latency: Mapping[str, Turns], parity: float) -> list[Row]:
    rows = []
    for name, percent in (("p50", 50.0), ("p99", 99.0)):
        bare, served, hello = (latency[side] for side in ("bare", "http", "hello"))
        added = served.each(percent) - bare.each(percent)
        rows += [
            _row(f"bare-{name}", bare, percent, "ms"),
            _row(f"hello-{name}", hello, percent, "ms"),
            replace(
                _row(f"http-{name}", served, percent, "ms"),
                ours=served.percentile(percent),
                peer=bare.percentile(percent),
                peer_name="bare model call in process",
                parity=parity,
                tolerance=PARITY_TOLERANCE,
            ),
            Row(
                id=f"http-added-{name}",
                value=float(np.median(added)),
                unit="ms",
                better="lower",
                ours=float(np.median(added)),
                peer=hello.percentile(percent),
                peer_name="hello-world of the same server",
                spread=(float(added.min()), float(added.max())),
                parity=parity,
                tolerance=PARITY_TOLERANCE,
            ),
        ]
    return rows


def _throughput_rows(measured: Measured, clients: int, parity: float) -> list[Row]:
    rate = {server: measured.rate[server, clients] for server in SERVERS}
    rows = [
        replace(_row(f"rate-{server}-{clients}", turns, 50.0, "requests/s"), better="higher")
        for server, turns in rate.items()
    ]
    gains = rate["batched"].each(50.0) / rate["unbatched"].each(50.0)
    rows.append(
        Row(
            id=f"batching-gain-{clients}",
            value=float(np.median(gains)),
            unit="ratio",
            better="higher",
            ours=rate["batched"].percentile(50.0),
            peer=rate["unbatched"].percentile(50.0),
            peer_name="the daemon with one row a batch",
            spread=(float(gains.min()), float(gains.max())),
            parity=parity,
            tolerance=PARITY_TOLERANCE,
        )
    )
    for server in ("batched", "unbatched"):
        for name, percent in (("p50", 50.0), ("p99", 99.0)):
            turns = measured.loaded[server, clients]
            rows.append(_row(f"loaded-{server}-{clients}-{name}", turns, percent, "ms"))
    return rows


def _row(name: str, turns: Turns, percent: float, unit: str) -> Row:
    each = turns.each(percent)
    return Row(
        id=name,
        value=turns.percentile(percent),
        unit=unit,
        better="lower",
        spread=(float(each.min()), float(each.max())),
    )


if __name__ == "__main__":
    sys.exit(main())
