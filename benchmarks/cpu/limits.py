"""What this machine can do at most: arithmetic and reading, measured in the same run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.cpu.workload import WEIGHT_BYTES, Cost, Precision
from benchmarks.harness import BenchmarkError, Row
from xlstmd.ops.native import load_native
from xlstmd.ops.native_pool import pool

REPETITIONS: Final = 5
LEVELS: Final = ("L1", "L2", "L3", "DRAM")

# Where the system does not say how large its caches are.
USUAL_CACHES: Final = {"L1": 32 * 2**10, "L2": 2**20, "L3": 32 * 2**20}
CACHES: Final = Path("/sys/devices/system/cpu/cpu0/cache")
DRAM_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rates of this machine.

    Args:
      caches: level to bytes; L1 and L2 of one core, L3 shared.
      fma: threads to GFLOP/s in fp32.
      read: (threads, level) to GB/s of all threads together.
    """

    caches: Mapping[str, int]
    fma: Mapping[int, float]
    read: Mapping[tuple[int, str], float]

    def level(self, bytes_per_thread: float, threads: int) -> str:
        """Gives where a working set lives."""
        for name in LEVELS[:-1]:
            if bytes_per_thread <= self.caches[name] / (threads if name == "L3" else 1):
                return name
        return "DRAM"

    def bound(self, cost: Cost, precision: Precision, threads: int) -> tuple[float, str] | None:
        """Gives the least seconds for some work and what sets them.

        None where it cannot be said: below fp32 the arithmetic's rate is not measured, so there
        is a bound only where reading takes longer than the same arithmetic in fp32 would.
        """
        if threads not in self.fma:
            return None
        compute = cost.flops / (1e9 * self.fma[threads])
        weight_bytes = WEIGHT_BYTES[precision]
        level = self.level((cost.resident * weight_bytes + cost.state_bytes) / threads, threads)
        moved = cost.weights * weight_bytes + cost.state_bytes
        reading = moved / (1e9 * self.read[threads, level])
        if reading >= compute:
            return reading, f"{level} reads"
        return (compute, "fp32 arithmetic") if precision == "fp32" else None

    def rows(self) -> list[Row]:
        """Gives the rates as rows."""
        arithmetic = [
            Row(id=f"machine-fma-fp32-{n}thr", value=rate, unit="GFLOP/s", better="higher")
            for n, rate in self.fma.items()
        ]
        reading = [
            Row(id=f"machine-read-{name.lower()}-{n}thr", value=rate, unit="GB/s", better="higher")
            for (n, name), rate in self.read.items()
        ]
        return arithmetic + reading


def measure_limits(threads: int, seconds: float) -> Limits:
    """Measures with one thread and with that many.

    Args:
      threads: the larger number.
      seconds: for each single measurement.

    Raises:
      BenchmarkError: the native library is not there.
    """
    native = load_native()
    if native.library is None:
        raise BenchmarkError(f"limits of the machine: the native library {native.summary}")
    library = native.library
    caches = cache_bytes()
    fma: dict[int, float] = {}
    read: dict[tuple[int, str], float] = {}
    for count in sorted({1, threads}):
        threads_pool = pool(count)
        fma[count] = best(library.xlstmd_measure_fma, threads_pool, seconds)
        for name, size in working_sets(caches, count).items():
            read[count, name] = best(library.xlstmd_measure_read, threads_pool, size, seconds)
    return Limits(caches=caches, fma=fma, read=read)


def best(rate: Callable[..., float], *arguments: object) -> float:
    """Gives the highest of a few measurements: a limit is what a quiet moment allows."""
    return max(rate(*arguments) for _ in range(REPETITIONS))


def working_sets(caches: Mapping[str, int], threads: int) -> dict[str, int]:
    """Gives bytes per thread that stay in each level and in none below: half of what it holds."""
    sets = {name: caches[name] // (2 * threads if name == "L3" else 2) for name in LEVELS[:-1]}
    # A small share of a large L3 would still be in L2.
    sets["L3"] = max(sets["L3"], 2 * caches["L2"])
    return {**sets, "DRAM": max(DRAM_BYTES, 4 * caches["L3"])}


def cache_bytes(folder: Path = CACHES) -> dict[str, int]:
    """Reads the sizes of the caches; the usual ones where the system does not say."""
    found = dict(USUAL_CACHES)
    for entry in sorted(folder.glob("index*")):
        try:
            level, kind, size = (
                (entry / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction" and f"L{level}" in found and size.endswith("K"):
            found[f"L{level}"] = int(size[:-1]) * 2**10
    return found
