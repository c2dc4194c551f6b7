"""The compiled library, if it is there: found once, loaded with ctypes, checked for its version."""

import ctypes
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ABI_VERSION: Final = 1
FILE: Final = "libxlstmd_native.so"


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeLibrary:
    """What was found.

    Attributes:
      library: the loaded library; None without one.
      reason: why there is none; empty with one.
      instruction_level: of this processor, as the library sees it; empty without one.
    """

    library: ctypes.CDLL | None
    reason: str = ""
    instruction_level: str = ""


@cache
def load_native() -> NativeLibrary:
    """Loads the library that was built with the package."""
    package = Path(__file__).parents[1]
    # An editable install keeps the sources where they are and the library in site-packages.
    places = (package / "lib", Path(sysconfig.get_path("platlib")) / "xlstmd" / "lib")
    path = next((place / FILE for place in places if (place / FILE).is_file()), None)
    if path is None:
        return NativeLibrary(library=None, reason="not built: no C++ compiler at installation")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return NativeLibrary(library=None, reason=f"cannot be loaded: {error}")
    library.xlstmd_abi_version.restype = ctypes.c_int32
    found = library.xlstmd_abi_version()
    if found != ABI_VERSION:
        reason = f"has interface version {found}, expected {ABI_VERSION}: install again"
        return NativeLibrary(library=None, reason=reason)
    library.xlstmd_instruction_level.restype = ctypes.c_char_p
    level = library.xlstmd_instruction_level().decode()
    return NativeLibrary(library=library, instruction_level=level)
