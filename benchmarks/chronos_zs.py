"""The fourteen Chronos-ZS tasks whose series are at hand, and the published scores on them.

Chronos-ZS is "benchmark II" of the Chronos paper (arXiv:2403.07815) as the fev library runs it: one
window per series, its last `horizon` points are the truth and everything before is the history.
Daily, weekly and yearly sets have season 1 there, whatever their true season is.
"""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from benchmarks.harness import ROOT, BenchmarkError
from xlstmd.train.metrics import Floats, geometric_mean

DATA_VARIABLE = "XLSTMD_DATA"

# Their own series were summed from the daily ones after an imputation that is not documented.
DERIVED_TOLERANCE = 0.015
# Half a unit in the fifth significant digit of a number that begins with 1.
EXACT_TOLERANCE = 5e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One data set with its window.

    Args:
      name: short name, used in ids and on the command line.
      folder: where its series lie under `series/eval`.
      published: its name in the published scores.
      horizon: points to forecast.
      season: lag of the seasonal naive forecast and of the MASE scale.
      tolerance: largest relative difference to the published seasonal naive scores.
    """

    name: str
    folder: str
    published: str
    horizon: int
    season: int
    tolerance: float = EXACT_TOLERANCE


def _monash(name: str, horizon: int, season: int) -> Task:
    return Task(name=name, folder=name, published=f"monash_{name}", horizon=horizon, season=season)


TASKS = (
    Task(
        name="exchange_rate",
        folder="exchange_rate",
        published="exchange_rate",
        horizon=30,
        season=5,
    ),
    Task(name="nn5", folder="nn5_daily", published="nn5", horizon=56, season=1),
    Task(
        name="nn5_weekly",
        folder="nn5_weekly_derived",
        published="monash_nn5_weekly",
        horizon=8,
        season=1,
        tolerance=DERIVED_TOLERANCE,
    ),
    _monash("covid_deaths", 30, 1),
    _monash("hospital", 12, 12),
    _monash("tourism_monthly", 24, 12),
    _monash("tourism_quarterly", 8, 4),
    _monash("tourism_yearly", 4, 1),
    _monash("m1_monthly", 18, 12),
    _monash("m1_quarterly", 8, 4),
    _monash("m1_yearly", 6, 1),
    _monash("m3_monthly", 18, 12),
    _monash("m3_quarterly", 8, 4),
    _monash("m3_yearly", 6, 1),
)

# Eight series and one window: its ratio swings by a factor of two between runs and contexts.
NOISY = "exchange_rate"


@dataclass(frozen=True, slots=True)
class Window:
    """The series of one task, cut: S histories of any lengths, truth `[S, Z]`; NaN = missing."""

    histories: tuple[Floats, ...]
    truth: Floats


def find_tasks(names: Sequence[str]) -> tuple[Task, ...]:
    """Gives the tasks of these names, in the order of `TASKS`.

    Raises:
      BenchmarkError: a name is unknown.
    """
    known = [task.name for task in TASKS]
    for name in names:
        if name not in known:
            raise BenchmarkError(f"expected some of {', '.join(known)}, got {name}")
    return tuple(task for task in TASKS if task.name in names)


def find_data(tasks: Sequence[Task] = TASKS) -> Path:
    """Gives the data folder: `XLSTMD_DATA`, else `shared/data` beside the repository.

    Raises:
      BenchmarkError: a file that the tasks need is not there; names all such files.
    """
    root = Path(os.environ.get(DATA_VARIABLE) or ROOT.parent / "shared" / "data")
    needed = [_published_file(root), *(_series_file(root, task) for task in tasks)]
    missing = [str(path.relative_to(root)) for path in needed if not path.is_file()]
    if missing:
        raise BenchmarkError(
            f"{DATA_VARIABLE}: expected a folder with these files:\n  " + "\n  ".join(missing)
        )
    return root


def load_window(root: Path, task: Task) -> Window:
    """Reads the series of a task and cuts each before its last `horizon` points.

    Raises:
      BenchmarkError: a series has no point before the cut.
    """
    column = parquet.read_table(_series_file(root, task), columns=["values"])["values"]
    series = [_plain_nan(row.values.to_numpy(zero_copy_only=False)) for row in column]
    shortest = min(len(values) for values in series)
    if shortest <= task.horizon:
        raise BenchmarkError(
            f"{task.name}: expected series of more than {task.horizon} points, got {shortest}"
        )
    return Window(
        histories=tuple(values[: -task.horizon] for values in series),
        truth=np.stack([values[-task.horizon :] for values in series]),
    )


@dataclass(frozen=True, slots=True)
class PublishedScores:
    """Scores that others published.

    Args:
      mase: model to task's published name to score.
      wql: likewise.
      trained_on: model to the published names of the tasks whose data it was trained on.
    """

    mase: dict[str, dict[str, float]]
    wql: dict[str, dict[str, float]]
    trained_on: dict[str, frozenset[str]]

    @property
    def models(self) -> tuple[str, ...]:
        """Gives the names of the models, the seasonal naive one left out."""
        return tuple(name for name in self.mase if name != "seasonal_naive")

    def relative(self, model: str, tasks: Sequence[Task]) -> tuple[Floats, Floats]:
        """Gives a model's MASE and WQL divided by the published seasonal naive ones, `[K]` each."""
        return _relative(self.mase, model, tasks), _relative(self.wql, model, tasks)

    def joined(self, model: str, tasks: Sequence[Task]) -> tuple[float, float]:
        """Gives the geometric means of a model's relative MASE and WQL over tasks."""
        mase, wql = self.relative(model, tasks)
        return geometric_mean(mase).item(), geometric_mean(wql).item()

    def best_zero_shot(self, tasks: Sequence[Task]) -> tuple[Floats, Floats]:
        """Gives each task's least relative MASE and WQL, `[K]` each, of models new to its data."""
        seen = [
            [task.published in self.trained_on[model] for task in tasks] for model in self.models
        ]
        mase, wql = zip(*(self.relative(model, tasks) for model in self.models), strict=True)
        return np.where(seen, np.inf, mase).min(axis=0), np.where(seen, np.inf, wql).min(axis=0)

    def count_trained_on(self, model: str, tasks: Sequence[Task]) -> int:
        """Counts the tasks whose data the model had seen, so that the score is not zero-shot."""
        return sum(task.published in self.trained_on[model] for task in tasks)


def load_published(root: Path) -> PublishedScores:
    """Reads the published scores: one line per model, data set and metric."""
    mase: dict[str, dict[str, float]] = {}
    wql: dict[str, dict[str, float]] = {}
    trained_on: dict[str, set[str]] = {}
    with _published_file(root).open(encoding="utf-8", newline="") as lines:
        for line in csv.DictReader(lines):
            model, dataset, value = line["model"], line["dataset"], line["value"]
            seen = trained_on.setdefault(model, set())
            match line["metric"]:
                case "MASE":
                    mase.setdefault(model, {})[dataset] = float(value)
                case "WQL":
                    wql.setdefault(model, {})[dataset] = float(value)
                case "trained_on_this_dataset" if float(value) > 0:
                    seen.add(dataset)
    frozen = {model: frozenset(seen) for model, seen in trained_on.items()}
    return PublishedScores(mase, wql, frozen)


def _plain_nan(values: NDArray[np.float64]) -> Floats:
    # Sets that came from R carry its NA, a signaling NaN, at which numpy warns in arithmetic.
    return np.where(np.isnan(values), np.nan, values).astype(np.float64)


def _relative(table: dict[str, dict[str, float]], model: str, tasks: Sequence[Task]) -> Floats:
    names = [task.published for task in tasks]
    naive = table["seasonal_naive"]
    return np.array([table[model][name] / naive[name] for name in names])


def _series_file(root: Path, task: Task) -> Path:
    return root / "series" / "eval" / task.folder / "series.parquet"


def _published_file(root: Path) -> Path:
    return root / "published" / "chronos_zs.csv"
