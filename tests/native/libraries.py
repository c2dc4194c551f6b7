"""The native libraries that were built and that this processor can run, one per level."""

import ctypes

import pytest

from xlstmd.ops import native
from xlstmd.ops.native import levels_of, load_native
from xlstmd.ops.native_signatures import declare


def every_level():
    """Gives the argument `library` for `parametrize`: each level's, or one skipped case."""
    found = load_native()
    if found.library is None:
        absent = pytest.mark.skip(reason=f"native library {found.summary}")
        return {"argnames": "library", "argvalues": [pytest.param(None, marks=absent, id="none")]}
    paths = {
        level: native._folder() / f"libxlstmd_{level}.so"
        for level in levels_of(found.instruction_level)
    }
    cases = [
        pytest.param(_opened(path), id=level) for level, path in paths.items() if path.is_file()
    ]
    return {"argnames": "library", "argvalues": cases}


def _opened(path):
    library = ctypes.CDLL(str(path))
    assert declare(library) == []
    return library
