"""The compiled library, if it is there: one per instruction level, the best for this processor.

`XLSTMD_NATIVE_LEVEL` names a lower level, to see what it does, or `none` to do without.
"""

import ctypes
import os
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from xlstmd.errors import ConfigError
from xlstmd.ops.native_signatures import declare

ABI_VERSION: Final = 3
LEVEL_VARIABLE: Final = "XLSTMD_NATIVE_LEVEL"

# Best first; a processor runs its own level and those after it. Others have one level alone.
X86_LEVELS: Final = ("x86-64-v4-bf16", "x86-64-v4", "x86-64-v3", "x86-64-v2")

_MACHINE: Final = "libxlstmd_machine.so"
_NOT_BUILT: Final = "not built: no C++ compiler at installation"


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeLibrary:
    """What was found.

    Attributes:
      library: the loaded library, its functions declared; None without one.
      reason: why there is none; empty with one.
      instruction_level: the best one of this processor; empty where nothing was built.
      built_for: the level of the loaded library; empty without one.
    """

    library: ctypes.CDLL | None
    reason: str = ""
    instruction_level: str = ""
    built_for: str = ""

    @property
    def summary(self) -> str:
        """For people: which library runs, or why none does."""
        return self.built_for if self.library is not None else f"absent: {self.reason}"


@cache
def load_native() -> NativeLibrary:
    """Loads the best library that this processor can run.

    Raises:
      ConfigError: `XLSTMD_NATIVE_LEVEL` names no level of this processor.
    """
    folder = _folder()
    if folder is None:
        return NativeLibrary(library=None, reason=_NOT_BUILT)
    try:
        machine = ctypes.CDLL(str(folder / _MACHINE))
    except OSError as error:
        return NativeLibrary(library=None, reason=f"cannot be loaded: {error}")
    machine.xlstmd_instruction_level.restype = ctypes.c_char_p
    own = machine.xlstmd_instruction_level().decode()
    levels = _wanted(levels_of(own))
    if not levels:
        return NativeLibrary(
            library=None, reason=f"switched off by {LEVEL_VARIABLE}", instruction_level=own
        )
    library, reason = _load(folder, levels)
    if library is None:
        return NativeLibrary(library=None, reason=reason, instruction_level=own)
    built_for = library.xlstmd_built_for().decode()
    return NativeLibrary(library=library, instruction_level=own, built_for=built_for)


def levels_of(own: str) -> tuple[str, ...]:
    """Gives the levels that a processor of level `own` can run, best first."""
    return X86_LEVELS[X86_LEVELS.index(own) :] if own in X86_LEVELS else (own,)


def _folder() -> Path | None:
    package = Path(__file__).parents[1]
    # An editable install keeps the sources where they are and the libraries in site-packages.
    places = (package / "lib", Path(sysconfig.get_path("platlib")) / "xlstmd" / "lib")
    return next((place for place in places if (place / _MACHINE).is_file()), None)


def _wanted(levels: tuple[str, ...]) -> tuple[str, ...]:
    asked = os.environ.get(LEVEL_VARIABLE)
    if not asked:
        return levels
    if asked == "none":
        return ()
    if asked not in levels:
        known = ", ".join((*levels, "none"))
        raise ConfigError(f"{LEVEL_VARIABLE}: expected one of {known}, got {asked}")
    return (asked,)


def _load(folder: Path, levels: tuple[str, ...]) -> tuple[ctypes.CDLL | None, str]:
    paths = (folder / f"libxlstmd_{level}.so" for level in levels)
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return None, f"not built for {' or '.join(levels)}: the compiler does not know it"
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return None, f"cannot be loaded: {error}"
    missing = declare(library)
    if "xlstmd_abi_version" not in missing:
        found = library.xlstmd_abi_version()
        if found != ABI_VERSION:
            return None, f"has interface version {found}, expected {ABI_VERSION}: install again"
    if missing:
        return None, f"lacks {', '.join(missing)}: install again"
    return library, ""
