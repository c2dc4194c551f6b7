"""Real series for training, and the part of them that is held back.

The split is fixed here, not configured: what is held back never reaches a training window.

- a series of a wide set (100 series or more): every tenth series, whole;
- `illness_ili`: the last 52 weeks of every series;
- any other series of 2000 points or more: the last 20 % in time;
- a series that shares a run of values with a held-back one of its set is in neither part.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet

from xlstmd.errors import InputError

Values = npt.NDArray[np.float64]
"""One series in time order, [length], NaN = missing."""

WIDE_SET = 100
EVERY = 10
LONG_SERIES = 2000
HELD_SHARE = 0.2
HELD_WEEKS = {"illness_ili": 52}

_ORIGINS = 4
_SHARED_RUN = 24
_SHARED_VARIETY = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is known about a set without reading it."""

    season: int  # points, 1 = none
    horizon: int  # points of a validation task
    weight: float  # how often training windows come from it


SOURCES: dict[str, Source] = {
    "air_quality_uci": Source(season=24, horizon=24, weight=0.8),
    "aus_retail": Source(season=12, horizon=12, weight=6.0),
    "beijing_pm25": Source(season=24, horizon=24, weight=0.5),
    "electricity_weekly": Source(season=1, horizon=8, weight=3.0),
    "ercot_price_dam": Source(season=24, horizon=24, weight=0.7),
    "ercot_small": Source(season=24, horizon=24, weight=0.8),
    "illness_ili": Source(season=52, horizon=24, weight=0.7),
    "load_rte": Source(season=48, horizon=48, weight=1.0),
    "pedestrian": Source(season=24, horizon=48, weight=1.5),
    "pjm_load": Source(season=24, horizon=24, weight=2.0),
    "sf_hospital_load": Source(season=24, horizon=24, weight=0.6),
    "sf_pv": Source(season=24, horizon=24, weight=0.6),
    "solar_weekly": Source(season=1, horizon=5, weight=0.8),
    "sunspot": Source(season=1, horizon=30, weight=0.4),
    "tennessee_eastman": Source(season=1, horizon=40, weight=0.8),
    "traffic_weekly": Source(season=1, horizon=8, weight=2.5),
    "vehicle_trips": Source(season=7, horizon=30, weight=3.0),
    "vic_elec": Source(season=48, horizon=48, weight=1.5),
    "yosemite_temps": Source(season=288, horizon=96, weight=0.8),
}

# A flag of public holidays is a covariate, not a series to forecast.
_LEFT_OUT = frozenset({("vic_elec", "Holiday")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One real series."""

    dataset: str
    id: str
    freq: str
    season: int
    values: Values


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationTask:
    """Held-back futures with the histories before them; all futures have the same length."""

    name: str
    season: int
    horizon: int
    contexts: tuple[Values, ...]
    futures: Values  # [number of contexts, horizon], NaN = unknown


def data_root() -> Path:
    """Finds the folder of the data: `XLSTMD_DATA`, else `../shared/data` beside the repository.

    Raises:
      InputError: there is no such folder with `series/train` in it.
    """
    named = os.environ.get("XLSTMD_DATA")
    root = Path(named) if named else Path(__file__).parents[4] / "shared" / "data"
    if not (root / "series" / "train").is_dir():
        raise InputError(
            "XLSTMD_DATA",
            "a folder with series/train/<name>/series.parquet for " + ", ".join(SOURCES),
            named or "no value",
            code="missing",
        )
    return root


def load_corpus(root: Path | None = None) -> list[Series]:
    """Reads every set of `series/train`, held-back parts included.

    Args:
      root: folder of the data; None looks for it (`data_root`).

    Raises:
      InputError: a file is missing or holds infinite values.
    """
    root = root or data_root()
    found: list[Series] = []
    for name, source in SOURCES.items():
        path = root / "series" / "train" / name / "series.parquet"
        if not path.is_file():
            where = f"series/train/{name}/series.parquet"
            raise InputError("XLSTMD_DATA", where, "no such file", code="missing")
        table = parquet.read_table(path, columns=["id", "freq", "values"])
        for identity, freq, values in zip(*(column for column in table.columns), strict=True):
            array = np.asarray(values.values, dtype=np.float64)
            if np.isinf(array).any():
                raise InputError(f"{name}.values", "finite values or NaN", "inf", code="non_finite")
            found.append(
                Series(
                    dataset=name,
                    id=identity.as_py(),
                    freq=freq.as_py(),
                    season=source.season,
                    values=array,
                )
            )
    return found


def held_from(length: int, dataset: str, position: int, set_size: int) -> int:
    """Gives the first held-back point of a series; its length when nothing is held back.

    Args:
      length: points of the series.
      dataset: name of its set.
      position: place of the series in its set, from 0.
      set_size: series in the set.
    """
    if set_size >= WIDE_SET:
        return 0 if position % EVERY == EVERY - 1 else length
    if dataset in HELD_WEEKS:
        return max(length - HELD_WEEKS[dataset], 0)
    if length >= LONG_SERIES:
        return int(length * (1.0 - HELD_SHARE))
    return length


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """A series and the first point of it that is held back."""

    series: Series
    cut: int


def split(corpus: Sequence[Series]) -> list[Split]:
    """Marks the held-back part of every series; sets must be complete and in file order."""
    sizes: dict[str, int] = {}
    for series in corpus:
        sizes[series.dataset] = sizes.get(series.dataset, 0) + 1
    positions = dict.fromkeys(sizes, 0)
    marked: list[Split] = []
    for series in corpus:
        name = series.dataset
        cut = held_from(series.values.size, name, positions[name], sizes[name])
        positions[name] += 1
        if (name, series.id) not in _LEFT_OUT:
            marked.append(Split(series=series, cut=cut))
    return marked


def training_part(corpus: Sequence[Series]) -> list[Series]:
    """Gives what may be trained on: copies of the values before each series' first held point.

    Args:
      corpus: all series, as `load_corpus` returns them.
    """
    marked = split(corpus)
    held: dict[str, list[npt.NDArray[np.uint64]]] = {}
    for part in marked:
        if part.cut == 0:
            held.setdefault(part.series.dataset, []).append(run_marks(part.series.values))
    known = {name: np.unique(np.concatenate(marks)) for name, marks in held.items()}
    kept: list[Series] = []
    for part in marked:
        values = part.series.values[: part.cut]
        if part.cut == 0 or _shares_run(values, known.get(part.series.dataset)):
            continue
        # A copy: no view of the held-back points is reachable from it.
        kept.append(replace(part.series, values=values.copy()))
    return kept


def run_marks(values: Values) -> npt.NDArray[np.uint64]:
    """Gives a hash for every run of 24 values, [length - 23]."""
    # Whole numbers leave the low bits of a float empty, and products would lose the high ones.
    bits = np.ascontiguousarray(values).view(np.uint64)
    bits = (bits ^ (bits >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    count = max(values.size - _SHARED_RUN + 1, 0)
    marks = np.zeros(count, dtype=np.uint64)
    for step in range(_SHARED_RUN if count else 0):
        marks = marks * np.uint64(0xBF58476D1CE4E5B9) + bits[step : step + count]
        marks ^= marks >> np.uint64(30)
    return marks


def _shares_run(values: Values, known: npt.NDArray[np.uint64] | None) -> bool:
    """Says whether a series has a run of held-back values, one varied enough to mean something.

    Args:
      values: the series.
      known: sorted hashes of all held-back runs of its set; None when nothing is held back whole.
    """
    if known is None:
        return False
    marks = run_marks(values)
    place = np.minimum(np.searchsorted(known, marks), known.size - 1)
    hits = np.flatnonzero(known[place] == marks)
    return any(
        np.unique(values[start : start + _SHARED_RUN]).size > _SHARED_VARIETY for start in hits
    )


def aggregated(values: Values, points: int) -> Values:
    """Averages blocks of points from the start on; an incomplete last block is dropped.

    A block with less than half of its points observed is missing.
    """
    blocks = values[: values.size - values.size % points].reshape(-1, points)
    observed = np.isfinite(blocks)
    number = observed.sum(axis=1)
    total = np.where(observed, blocks, 0.0).sum(axis=1)
    return np.where(2 * number >= points, total / np.maximum(number, 1), np.nan)


def _origins(cut: int, length: int, horizon: int) -> Iterator[int]:
    """Gives forecast origins, evenly from the cut to the last that leaves a whole horizon."""
    last = length - horizon
    if last < cut:
        return
    for origin in np.unique(np.linspace(cut, last, _ORIGINS).astype(np.int64)):
        yield int(origin)


def _task(
    name: str, season: int, horizon: int, pairs: Sequence[tuple[Values, int]]
) -> ValidationTask | None:
    """Puts (series, origin) pairs together; drops histories or futures that say nothing."""
    contexts: list[Values] = []
    futures: list[Values] = []
    for values, origin in pairs:
        context, future = values[:origin], values[origin : origin + horizon]
        steps = np.abs(context[season:] - context[:-season])
        # Without a step in the history its error scale is zero.
        if np.isfinite(future).mean() >= 0.5 and np.nan_to_num(steps).max(initial=0.0) > 0:
            contexts.append(context)
            futures.append(future)
    if not contexts:
        return None
    return ValidationTask(
        name=name,
        season=season,
        horizon=horizon,
        contexts=tuple(contexts),
        futures=np.stack(futures),
    )


_COARSE: dict[str, tuple[tuple[str, int, int, int], ...]] = {
    "pjm_load": (("daily", 24, 7, 30), ("weekly", 168, 52, 13)),
    "vic_elec": (("hourly", 2, 24, 24), ("daily", 48, 7, 30)),
    "aus_retail": (("quarterly", 3, 4, 8), ("yearly", 12, 1, 6)),
}
"""Aggregated views to validate on: name, points per block, season, horizon."""


def validation_tasks(root: Path | None = None) -> list[ValidationTask]:
    """Builds the held-back tasks, one per set with a held-back part, and a few coarser views.

    Args:
      root: folder of the data; None looks for it (`data_root`).
    """
    return tasks_of(load_corpus(root))


def tasks_of(corpus: Sequence[Series]) -> list[ValidationTask]:
    """Builds the held-back tasks of a corpus.

    Long series have several origins inside their held-back part, series that are held back whole
    have one, a horizon before their end.
    """
    by_set: dict[str, list[Split]] = {}
    for part in split(corpus):
        if part.cut < part.series.values.size:
            by_set.setdefault(part.series.dataset, []).append(part)
    tasks: list[ValidationTask | None] = []
    for name, parts in by_set.items():
        source = SOURCES[name]
        views = [(name, 1, source.season, source.horizon)]
        views += [(f"{name}/{view}", n, s, h) for view, n, s, h in _COARSE.get(name, ())]
        for title, points, season, horizon in views:
            pairs: list[tuple[Values, int]] = []
            for part in parts:
                values = aggregated(part.series.values, points)
                # The block that holds the cut belongs to the history.
                first = -(-part.cut // points)
                if part.cut == 0:
                    first = max(values.size - horizon, 2 * season)
                pairs += [(values, origin) for origin in _origins(first, values.size, horizon)]
            tasks.append(_task(title, season, horizon, pairs))
    return [task for task in tasks if task is not None]
