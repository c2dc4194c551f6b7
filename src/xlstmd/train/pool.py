"""A pool of training series on disk: one memory-mapped array per bucket of length."""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from xlstmd.errors import ConfigError
from xlstmd.train.corpus import load_corpus
from xlstmd.train.generators import mixture
from xlstmd.train.generators.periods import BUCKETS
from xlstmd.train.windows import View, WindowSource, training_views

FORMAT = 1
_CARD = "pool.json"
# Points per unit of work: enough rows for whole-array operations, few enough to stay in memory.
_POINTS_PER_CHUNK = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chunk:
    """One unit of work: rows `start` to `start + count` of a bucket, with a seed of their own."""

    length: int
    start: int
    count: int
    seed: np.random.SeedSequence
    real_fraction: float
    data_root: Path | None


@cache
def _views(root: Path) -> list[View]:
    """Reads the real series once per process."""
    return training_views(load_corpus(root))


def _rows(chunk: _Chunk) -> npt.NDArray[np.float16]:
    """Draws the rows of one chunk."""
    rng = np.random.default_rng(chunk.seed)
    real = 0 if chunk.data_root is None else int(rng.binomial(chunk.count, chunk.real_fraction))
    parts = [mixture.generate(rng, chunk.count - real, chunk.length)]
    if chunk.data_root is not None and real:
        parts.append(WindowSource(_views(chunk.data_root), chunk.length).draw(rng, real))
    return np.concatenate(parts)[rng.permutation(chunk.count)].astype(np.float16)


def _chunks(
    seed: int, counts: Mapping[int, int], real_fraction: float, data_root: Path | None
) -> Iterator[_Chunk]:
    """Cuts the work into chunks whose seeds do not depend on the number of workers."""
    for length, count in sorted(counts.items()):
        size = max(64, _POINTS_PER_CHUNK // length)
        for index, start in enumerate(range(0, count, size)):
            yield _Chunk(
                length=length,
                start=start,
                count=min(size, count - start),
                seed=np.random.SeedSequence((seed, length, index)),
                real_fraction=real_fraction,
                data_root=data_root,
            )


def _worked(
    chunks: list[_Chunk], executor: Executor | None, ahead: int
) -> Iterator[tuple[_Chunk, npt.NDArray[np.float16]]]:
    """Works the chunks off in order, at most `ahead` of them at a time."""
    if executor is None:
        for chunk in chunks:
            yield chunk, _rows(chunk)
        return
    waiting = iter(chunks)
    running = [(chunk, executor.submit(_rows, chunk)) for chunk in islice(waiting, ahead)]
    while running:
        chunk, future = running.pop(0)
        rows = future.result()
        running += [(fresh, executor.submit(_rows, fresh)) for fresh in islice(waiting, 1)]
        yield chunk, rows


def _check(counts: Mapping[int, int], real_fraction: float) -> None:
    unknown = [length for length in counts if length not in BUCKETS]
    if unknown or not counts:
        raise ConfigError(f"counts: expected lengths out of {BUCKETS}, got {unknown}")
    if min(counts.values()) < 1:
        raise ConfigError(f"counts: expected at least 1 per bucket, got {dict(counts)}")
    if not 0.0 <= real_fraction < 1.0:
        raise ConfigError(f"real_fraction: expected 0 to below 1, got {real_fraction}")


def _fill(
    arrays: Mapping[int, npt.NDArray[np.float16]], chunks: list[_Chunk], workers: int
) -> None:
    """Works all chunks off into the arrays, under a progress bar."""
    executor = (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else None
    )
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeRemainingColumn(), transient=True) as progress:
            bar = progress.add_task("series", total=sum(chunk.count for chunk in chunks))
            for chunk, rows in _worked(chunks, executor, 2 * workers):
                arrays[chunk.length][chunk.start : chunk.start + chunk.count] = rows
                progress.advance(bar, chunk.count)
    finally:
        if executor is not None:
            executor.shutdown(cancel_futures=True)


def build_pool(
    folder: Path,
    *,
    seed: int,
    counts: Mapping[int, int],
    real_fraction: float = 0.25,
    workers: int = 1,
    data_root: Path | None = None,
) -> "Pool":
    """Writes a pool, one float16 array [count, length] per bucket, and opens it.

    The same seed and counts give the same files, whatever the number of workers.

    Args:
      folder: where to write; made when absent, arrays of the same buckets are replaced.
      seed: source of all randomness.
      counts: length of a bucket in points -> number of series.
      real_fraction: part of the series that are windows of real series.
      workers: processes; more than one need a caller that can be imported again (`__main__`
        guard).
      data_root: folder with `series/train`; None makes a pool of synthetic series only.

    Raises:
      ConfigError: a bucket, a count or the fraction is out of range.
    """
    _check(counts, real_fraction)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # The card is written last: a pool without one is not complete.
    (folder / _CARD).unlink(missing_ok=True)
    arrays = {
        length: np.lib.format.open_memmap(
            folder / f"{length}.npy", mode="w+", dtype=np.float16, shape=(count, length)
        )
        for length, count in counts.items()
    }
    chunks = list(_chunks(seed, counts, real_fraction, data_root))
    _fill(arrays, chunks, workers)
    for array in arrays.values():
        array.flush()
    card = {
        "format": FORMAT,
        "seed": seed,
        "generator_version": mixture.VERSION,
        "counts": {str(length): count for length, count in sorted(counts.items())},
        "real_fraction": real_fraction if data_root is not None else 0.0,
        "families": {str(length): mixture.shares(length) for length in sorted(counts)},
    }
    (folder / _CARD).write_text(json.dumps(card, indent=2) + "\n")
    return Pool(folder)


class Pool:
    """Reads series from a pool without loading it."""

    def __init__(self, folder: Path) -> None:
        """Maps the arrays of a complete pool.

        Args:
          folder: what `build_pool` wrote.

        Raises:
          ConfigError: the folder holds no complete pool of this format.
        """
        self.folder = Path(folder)
        card_path = self.folder / _CARD
        if not card_path.is_file():
            raise ConfigError(f"pool: expected a complete pool, got no {_CARD} in {folder}")
        self.card: dict[str, object] = json.loads(card_path.read_text())
        if self.card.get("format") != FORMAT:
            raise ConfigError(f"pool: expected format {FORMAT}, got {self.card.get('format')}")
        self._arrays: dict[int, npt.NDArray[np.float16]] = {
            length: np.load(self.folder / f"{length}.npy", mmap_mode="r")
            for length in BUCKETS
            if (self.folder / f"{length}.npy").is_file()
        }

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the buckets, shortest first."""
        return tuple(self._arrays)

    def bucket(self, length: int) -> npt.NDArray[np.float16]:
        """Gives all series of one length [count, length], mapped, NaN = missing.

        Raises:
          ConfigError: the pool has no such bucket.
        """
        if length not in self._arrays:
            raise ConfigError(f"length: expected one of {self.lengths}, got {length}")
        return self._arrays[length]

    def draw(self, rng: np.random.Generator, length: int, count: int) -> npt.NDArray[np.float32]:
        """Draws series of one length with replacement [count, length], NaN = missing."""
        rows = self.bucket(length)
        # In order of their place on disk: neighbors share pages.
        chosen = np.sort(rng.integers(0, rows.shape[0], count))
        return np.asarray(rows[chosen], dtype=np.float32)
