"""`xlstmd info`: what is installed here and what it can use."""

import argparse
import json
import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xlstmd import __version__
from xlstmd.cli.models import describe, describe_policy
from xlstmd.errors import BackendUnavailable
from xlstmd.models import checkpoint, policy_checkpoint, runtime
from xlstmd.models.forecaster import load_forecaster
from xlstmd.ops.native import NativeLibrary, load_native
from xlstmd.server.settings import Settings

CPU_FACTS: Final = Path("/proc/cpuinfo")
PACKAGES: Final = ("numpy", "torch", "litestar", "uvicorn", "pyarrow")

# What an x86-64 level asks for beyond the one below, by the names of Linux.
LEVELS: Final = (
    ("x86-64-v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("x86-64-v3", {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}),
    ("x86-64-v4", {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}),
)


def run(arguments: argparse.Namespace) -> None:
    """Prints the facts."""
    facts = gather()
    if arguments.json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        # As text: square brackets in a reason are no markup.
        table.add_row(name, Text(_line(value)))
    Console().print(table)


def gather() -> dict[str, Any]:
    """Gives the facts, as JSON can hold them."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "instructions": instruction_level(_cpu_flags()),
        "native library": native_library(load_native()),
        "runtimes refused": runtime.refusals(),
        "packages": {name: _version_of(name) for name in PACKAGES},
        "models": {
            name: describe(folder)["model"] for name, folder in checkpoint.shipped().items()
        },
        "policies": {
            name: describe_policy(folder)["model"]
            for name, folder in policy_checkpoint.shipped_policies().items()
        },
        "sessions": sessions(Settings.from_sources(environment=os.environ)),
    }


def sessions(settings: Settings) -> dict[str, dict[str, int]]:
    """Gives for each model the bytes of a session, and how many a daemon has in memory.

    Args:
      settings: of the daemon.
    """
    found = {}
    for name in checkpoint.shipped():
        with suppress(BackendUnavailable):
            model = load_forecaster(name, precision=settings.precision)
            slot_bytes = getattr(model, "slot_bytes", None)
            if slot_bytes is not None:
                slots = settings.engine_settings().session_slots(slot_bytes)
                found[name] = {"slot_bytes": slot_bytes, "slots": slots}
    return found


def instruction_level(flags: frozenset[str], machine: str | None = None) -> str:
    """Gives the highest level whose instructions a CPU has.

    Args:
      flags: of the CPU, as Linux names them.
      machine: kind of CPU; None asks the system.
    """
    machine = machine or platform.machine()
    if machine not in ("x86_64", "AMD64"):
        return machine
    level = "x86-64"
    for name, needed in LEVELS:
        if not needed <= flags:
            break
        level = name
    extras = sorted(flags & {"amx_bf16", "avx512_bf16", "avx512_vnni"})
    return " + ".join((level, *extras))


def native_library(native: NativeLibrary) -> str:
    """Gives the level of the library that runs, and the better one that the processor has."""
    if native.library is None or native.built_for == native.instruction_level:
        return native.summary
    return f"{native.summary}, on a processor of level {native.instruction_level}"


def _cpu_flags() -> frozenset[str]:
    try:
        lines = CPU_FACTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    named = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(named, "").split())


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {_part(part)}" for name, part in value.items()) or "none"
    return str(value)


def _part(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number:,}" for name, number in value.items())
    return str(value)
