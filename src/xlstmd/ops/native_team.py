"""The native library on torch's own OpenMP threads, for operations that stand between torch's.

Torch's threads spin for a while after each of its operations; threads of our own would wait for
the cores that those hold. Decision record 0004.
"""

import ctypes
import os
from functools import cache
from typing import Any, Final

import torch

from xlstmd.ops.native import load_native
from xlstmd.ops.native_pool import pool

_RUN: Final = "GOMP_parallel"
_NUMBER: Final = "omp_get_thread_num"

# By number of threads; left to the end of the process.
_teams: Final[dict[int, int]] = {}

# OpenMP's threads do not follow into a fork, and its calls there wait for them without end.
_PROCESS: Final = os.getpid()


def team() -> int:
    """Gives the handle of a pool with as many threads as torch uses, torch's own if it can.

    Raises:
      BackendUnavailable: there is no native library.
      MemoryError: no memory, or no more threads.
    """
    threads = torch.get_num_threads()
    openmp = _openmp()
    if threads == 1 or openmp is None or os.getpid() != _PROCESS:
        return pool(threads)
    found = _teams.get(threads)
    return _make(threads, openmp) if found is None else found


def _make(threads: int, openmp: ctypes.CDLL) -> int:
    library = load_native().library
    assert library is not None
    functions = (_address(openmp, name) for name in (_RUN, _NUMBER))
    made: int | None = library.xlstmd_pool_create_on(threads, *functions)
    if made is None:
        raise MemoryError(f"no pool of {threads} threads")
    # Of two who made it at the same time, the first one's stays.
    kept = _teams.setdefault(threads, made)
    if kept != made:
        library.xlstmd_pool_destroy(made)
    return kept


@cache
def _openmp() -> ctypes.CDLL | None:
    """Gives what leads to the OpenMP library that torch uses, where it has GNU's entry points."""
    # Looked up through torch: another package may have loaded an OpenMP library of its own.
    library = ctypes.CDLL(torch._C.__file__)
    known = hasattr(library, _RUN) and hasattr(library, _NUMBER)
    return library if known else None


def _address(library: Any, name: str) -> int | None:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
