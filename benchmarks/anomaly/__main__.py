"""Runs the benchmark; see the package."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import xlstmd
from benchmarks import anomaly
from benchmarks.anomaly import published
from benchmarks.anomaly.corpora import Corpus, Floats, find_data, load_nab, load_skab
from benchmarks.anomaly.detectors import (
    Detector,
    auto_ets,
    forecaster,
    rolling_z_score,
    seasonal_naive,
)
from benchmarks.anomaly.figures import (
    NAB_MEASURES,
    SKAB_MEASURES,
    Figure,
    Measure,
    Surprises,
    nab_figures,
    skab_figures,
)
from benchmarks.harness import (
    EXIT_COULD_NOT_RUN,
    RESULTS,
    BenchmarkError,
    Row,
    console,
    number,
    write_report,
)
from xlstmd.errors import XlstmdError

SPREAD_PERCENTILES = (2.5, 97.5)

# Published scores: of NAB by profile, of SKAB beside our flags at the first rate.
PUBLISHED = {
    measure.id: {name: scores[place] for name, scores in table.items()}
    for measures, table in ((NAB_MEASURES[:3], published.NAB), (SKAB_MEASURES[1:4], published.SKAB))
    for place, measure in enumerate(measures)
}

# Of one detector, by measure.
Figures = dict[str, Figure]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark and gives the exit code: 0 done, 2 usage, 4 could not run."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.anomaly",
        description=anomaly.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: results/anomaly.json")
    options = parser.parse_args(arguments)
    try:
        _run(options.output or RESULTS / "anomaly.json", console())
    except (BenchmarkError, XlstmdError) as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_COULD_NOT_RUN
    return 0


def _run(path: Path, out: Console) -> None:
    root = find_data()
    nab, skab = load_nab(root), load_skab(root)
    rows = published.reproduce(nab)
    detectors = [forecaster(xlstmd.load_forecaster()), rolling_z_score(), seasonal_naive()]
    skipped = ""
    try:
        detectors.append(auto_ets())
    except BenchmarkError as error:
        skipped = f"Left out: {error}"
    figures: list[Figures] = []
    for detector in detectors:
        start = time.perf_counter()
        on_nab, on_skab = _surprises(detector, nab), _surprises(detector, skab)
        seconds = time.perf_counter() - start
        figures.append(nab_figures(nab, on_nab) | skab_figures(skab, on_skab))
        rows.append(Row(id=f"seconds-{detector.id}", value=seconds, unit="s", better="lower"))
    for measure in (*NAB_MEASURES, *SKAB_MEASURES):
        rows += _rows(measure, detectors, figures)
    written = write_report(rows, path).name
    out.print(_nab_table(detectors, figures))
    out.print(_skab_table(detectors, figures))
    if skipped:
        out.print(skipped)
    out.print(f"Wrote {written}.")


def _surprises(detector: Detector, corpus: Corpus) -> list[Surprises]:
    return [
        [detector.surprises(values, corpus.season) for values in recording.series]
        for recording in corpus.recordings
    ]


def _rows(measure: Measure, detectors: Sequence[Detector], figures: Sequence[Figures]) -> list[Row]:
    """Gives our figure, and how far it is ahead of each other one or off its target."""
    ours = figures[0][measure.id]
    if measure.target is not None:
        return [_target_row(measure, measure.target, ours)]
    rows = [
        Row(
            id=measure.id,
            value=ours.value,
            unit=measure.unit,
            better=measure.better,
            ours=ours.value,
            spread=_spread(ours.draws),
        )
    ]
    sign = 1.0 if measure.better == "higher" else -1.0
    for detector, found in zip(detectors[1:], figures[1:], strict=True):
        peer = found[measure.id]
        rows.append(
            Row(
                id=f"{measure.id}-vs-{detector.id}",
                value=sign * (ours.value - peer.value),
                unit=f"{measure.unit} ahead",
                better="higher",
                ours=ours.value,
                peer=peer.value,
                peer_name=detector.title,
                spread=_spread(sign * (ours.draws - peer.draws)),
            )
        )
    for name, value in PUBLISHED.get(measure.id, {}).items():
        rows.append(
            Row(
                id=f"{measure.id}-vs-published-{name.lower().replace(' ', '-')}",
                value=sign * (ours.value - value),
                unit=f"{measure.unit} ahead",
                better="higher",
                ours=ours.value,
                peer=value,
                peer_name=f"published {name}",
            )
        )
    return rows


def _target_row(measure: Measure, target: float, ours: Figure) -> Row:
    return Row(
        id=measure.id,
        value=abs(ours.value - target),
        unit=f"{measure.unit} points off",
        better="lower",
        ours=ours.value,
        peer=target,
        peer_name="what was asked for",
    )


def _spread(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, SPREAD_PERCENTILES).tolist()
    return low, high


def _nab_table(detectors: Sequence[Detector], figures: Sequence[Figures]) -> Table:
    title = "NAB, score from 0 (no detection) to 100; ±: standard deviation over resampled files"
    table = _table(title, NAB_MEASURES, detectors, figures)
    table.caption = (
        "standard, low-fp, low-fn: surprises at the best threshold, as published; flags: scored by "
        "the standard profile; % at: share flagged outside the windows"
    )
    return table


def _skab_table(detectors: Sequence[Detector], figures: Sequence[Figures]) -> Table:
    title = "SKAB, all points of all runs; ±: standard deviation over resampled runs"
    table = _table(title, SKAB_MEASURES, detectors, figures)
    table.caption = (
        "a point is flagged where one of 8 sensors is; published detectors are fitted to the first "
        "400 points of each run, and see all sensors at once"
    )
    return table


def _table(
    title: str,
    measures: Sequence[Measure],
    detectors: Sequence[Detector],
    figures: Sequence[Figures],
) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("detector", no_wrap=True)
    for measure in measures:
        table.add_column(measure.title, justify="right", no_wrap=True)
    for detector, found in zip(detectors, figures, strict=True):
        cells = [
            f"{number(found[measure.id].value)} ± {found[measure.id].draws.std():.2g}"
            for measure in measures
        ]
        table.add_row(detector.id, *cells, style="bold green" if found is figures[0] else None)
    names = {name: None for measure in measures for name in PUBLISHED.get(measure.id, {})}
    for name in names:
        cells = [number(PUBLISHED.get(measure.id, {}).get(name)) for measure in measures]
        table.add_row(f"published {name}", *cells, style="dim")
    return table


if __name__ == "__main__":
    sys.exit(main())
