"""The labeled series: NAB and SKAB, as they lie in the data folder.

Sources: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms - the Numenta Anomaly
Benchmark", 2015, arXiv:1510.03336, corpus 1.0; Katser and Kozitsin, "Skoltech Anomaly Benchmark
(SKAB)", 2020, doi:10.34740/KAGGLE/DSV/1693952, version 0.9.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from benchmarks.chronos_zs import DATA_VARIABLE
from benchmarks.harness import ROOT, BenchmarkError

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

# Points that the data's own description gives as the season of each corpus.
SEASONS = {"nab": 288, "skab": 1}


@dataclass(frozen=True, slots=True)
class Recording:
    """Series of one thing at the same times.

    Args:
      name: of the file or run.
      series: one for each sensor.
      labels: [T], where an anomaly is.
    """

    name: str
    series: tuple[Floats, ...]
    labels: Bools


@dataclass(frozen=True, slots=True)
class Corpus:
    """Recordings, with the season of their series in points."""

    name: str
    season: int
    recordings: tuple[Recording, ...]


def find_data() -> Path:
    """Gives the data folder: `XLSTMD_DATA`, else `shared/data` beside the repository.

    Raises:
      BenchmarkError: a file is not there; names all such files.
    """
    root = Path(os.environ.get(DATA_VARIABLE) or ROOT.parent / "shared" / "data")
    needed = [_file(root, corpus, name) for corpus in SEASONS for name in ("series", "labels")]
    missing = [str(path.relative_to(root)) for path in needed if not path.is_file()]
    if missing:
        raise BenchmarkError(
            f"{DATA_VARIABLE}: expected a folder with these files:\n  " + "\n  ".join(missing)
        )
    return root


def load_nab(root: Path) -> Corpus:
    """Reads NAB: 58 series, labeled by windows around 116 anomalies."""
    labels = dict(_columns(_file(root, "nab", "labels"), "id", "label"))
    return Corpus(
        "nab",
        SEASONS["nab"],
        tuple(
            _recording(name, [values], labels[name])
            for name, values in _columns(_file(root, "nab", "series"), "id", "values")
        ),
    )


def load_skab(root: Path) -> Corpus:
    """Reads SKAB: 34 runs of 8 sensors, labeled by point; the run without anomaly is left out."""
    sensors: dict[str, list[Floats]] = {}
    for name, values in _columns(_file(root, "skab", "series"), "id", "values"):
        sensors.setdefault(name.partition("|")[0], []).append(values)
    labels = _columns(_file(root, "skab", "labels"), "run", "anomaly")
    return Corpus(
        "skab",
        SEASONS["skab"],
        tuple(_recording(run, sensors[run], labeled) for run, labeled in labels),
    )


def _recording(name: str, series: list[Floats], labels: Floats) -> Recording:
    lengths = {len(values) for values in series}
    if lengths != {len(labels)}:
        raise BenchmarkError(f"{name}: expected {len(labels)} labeled points, got {lengths}")
    return Recording(name, tuple(series), labels > 0)


def _columns(path: Path, name: str, values: str) -> list[tuple[str, Floats]]:
    table = parquet.read_table(path, columns=[name, values])
    numbers = [
        row.values.to_numpy(zero_copy_only=False).astype(np.float64) for row in table[values]
    ]
    return list(zip(table[name].to_pylist(), numbers, strict=True))


def _file(root: Path, corpus: str, name: str) -> Path:
    return root / "series" / "anomaly" / corpus / f"{name}.parquet"
