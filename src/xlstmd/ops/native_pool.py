"""Threads of the native library: one pool for each number of threads, shared by all who ask.

A pool serves one call at a time, so two lanes with the same pool take turns instead of crowding
the cores. A pool of one thread is but the memory that it computes in: each caller has its own.
"""

import os
import threading
from typing import Final

from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.ops.native import load_native

# By process too: the threads of a pool do not follow into a fork. Pools are left to the end of the
# process, since at exit a lane's thread may still be computing in one.
_pools: Final[dict[tuple[int, int, int], int]] = {}


def pool(threads: int) -> int:
    """Gives the handle of this process's pool with so many threads, the caller's included.

    Raises:
      BackendUnavailable: there is no native library.
      ConfigError: fewer than one thread.
      MemoryError: no memory, or no more threads.
    """
    key = (os.getpid(), threads, threading.get_ident() if threads == 1 else 0)
    found = _pools.get(key)
    return _make(key, threads) if found is None else found


def _make(key: tuple[int, int, int], threads: int) -> int:
    if threads < 1:
        raise ConfigError(f"threads: expected at least 1, got {threads}")
    native = load_native()
    if native.library is None:
        raise BackendUnavailable(
            f"no pool without the native library: {native.reason}", {"native": native.reason}
        )
    made: int | None = native.library.xlstmd_pool_create(threads)
    if made is None:
        raise MemoryError(f"no pool of {threads} threads")
    # Of two who made it at the same time, the first one's stays.
    kept = _pools.setdefault(key, made)
    if kept != made:
        native.library.xlstmd_pool_destroy(made)
    return kept
