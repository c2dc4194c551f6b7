"""The native library: which level is loaded, what forces another, and what its absence says."""

import ctypes
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.small_models import random_forecaster
from xlstmd.errors import BackendUnavailable, ConfigError
from xlstmd.ops import native, native_pool, native_signatures
from xlstmd.ops.native import LEVEL_VARIABLE, X86_LEVELS, NativeLibrary, levels_of, load_native

ROOT = Path(__file__).parents[2]
HEADER = (ROOT / "native" / "xlstmd_native.h").read_text(encoding="utf-8")

NUMBERS = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}

needs_library = pytest.mark.skipif(
    load_native().library is None, reason=f"native library {load_native().summary}"
)


@pytest.fixture
def fresh(monkeypatch):
    """Lets a test load anew, and nobody after it see what it loaded."""
    monkeypatch.delenv(LEVEL_VARIABLE, raising=False)
    load_native.cache_clear()
    yield
    load_native.cache_clear()


def loaded_with(level):
    """Gives what a fresh process loads when a level is asked for, torch not among it."""
    code = (
        "import json, sys\n"
        "from xlstmd.ops.native import load_native\n"
        "found = load_native()\n"
        "print(json.dumps([found.library is not None, found.reason, found.built_for,"
        " 'torch' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, LEVEL_VARIABLE: level},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_a_processor_runs_its_level_and_those_below():
    assert levels_of("x86-64-v4-bf16") == X86_LEVELS
    assert levels_of("x86-64-v3") == ("x86-64-v3", "x86-64-v2")
    assert levels_of("aarch64") == ("aarch64",)
    # No library is built for less than the second level.
    assert levels_of("x86-64") == ("x86-64",)


@needs_library
def test_the_best_level_that_was_built_is_loaded(fresh):
    found = load_native()
    levels = levels_of(found.instruction_level)
    built = [level for level in levels if (folder() / f"libxlstmd_{level}.so").is_file()]
    assert found.built_for == built[0]
    assert found.summary == built[0]
    assert found.library.xlstmd_abi_version() == native.ABI_VERSION


@needs_library
def test_a_lower_level_can_be_forced():
    for level in levels_of(load_native().instruction_level):
        if (folder() / f"libxlstmd_{level}.so").is_file():
            assert loaded_with(level) == [True, "", level, False]


def test_an_empty_variable_counts_as_not_set():
    found = load_native()
    assert loaded_with("") == [found.library is not None, found.reason, found.built_for, False]


@needs_library
def test_none_does_without():
    assert loaded_with("none") == [False, f"switched off by {LEVEL_VARIABLE}", "", False]


@needs_library
def test_an_unknown_level_is_refused_with_the_known_ones():
    levels = ", ".join(levels_of(load_native().instruction_level))
    expected = f"ConfigError: {LEVEL_VARIABLE}: expected one of {levels}, none, got x86-64-v9"
    assert expected in loaded_with("x86-64-v9")


@needs_library
def test_a_level_above_the_processor_is_refused(fresh, monkeypatch):
    monkeypatch.setattr(native, "levels_of", lambda own: ("x86-64-v2",))
    monkeypatch.setenv(LEVEL_VARIABLE, "x86-64-v4")
    with pytest.raises(ConfigError, match="expected one of x86-64-v2, none, got x86-64-v4"):
        load_native()


def test_nothing_built_is_said(fresh, monkeypatch):
    monkeypatch.setattr(native, "_folder", lambda: None)
    assert load_native().library is None
    assert load_native().summary == "absent: not built: no C++ compiler at installation"


@needs_library
def test_a_level_that_the_compiler_left_out_is_said(fresh, monkeypatch):
    monkeypatch.setattr(native, "levels_of", lambda own: ("x86-64-v8", "x86-64-v7"))
    assert "not built for x86-64-v8 or x86-64-v7" in load_native().reason


@needs_library
def test_a_damaged_file_is_said(fresh, monkeypatch, tmp_path):
    (tmp_path / "libxlstmd_machine.so").symlink_to(folder() / "libxlstmd_machine.so")
    for level in X86_LEVELS:
        (tmp_path / f"libxlstmd_{level}.so").write_bytes(b"no library")
    monkeypatch.setattr(native, "_folder", lambda: tmp_path)
    monkeypatch.setattr(native, "levels_of", lambda own: X86_LEVELS)
    assert "cannot be loaded" in load_native().reason


@needs_library
def test_another_interface_version_is_said(fresh, monkeypatch):
    monkeypatch.setattr(native, "ABI_VERSION", 0)
    assert re.search(r"interface version \d+, expected 0: install again", load_native().reason)


@needs_library
def test_a_function_that_is_lacking_is_said(fresh, monkeypatch):
    monkeypatch.setitem(native_signatures.SIGNATURES, "xlstmd_of_tomorrow", (None, ()))
    assert load_native().reason == "lacks xlstmd_of_tomorrow: install again"


def test_a_model_says_which_library_it_found():
    assert random_forecaster().describe()["native_library"] == load_native().summary


@needs_library
def test_a_pool_is_shared_by_all_who_want_so_many_threads():
    found = []
    threads = [threading.Thread(target=lambda: found.append(native_pool.pool(2))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {native_pool.pool(2)}
    assert native_pool.pool(1) != native_pool.pool(2)


@needs_library
def test_callers_with_one_thread_do_not_wait_for_each_other():
    found = []
    other = threading.Thread(target=lambda: found.append(native_pool.pool(1)))
    other.start()
    other.join()
    assert native_pool.pool(1) == native_pool.pool(1) != found[0]


@needs_library
def test_a_fork_gets_a_pool_of_its_own(monkeypatch):
    own = native_pool.pool(2)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert native_pool.pool(2) != own


def test_a_pool_of_no_threads_is_refused():
    with pytest.raises(ConfigError, match="threads: expected at least 1, got 0"):
        native_pool.pool(0)


def test_no_pool_without_the_library(monkeypatch):
    absent = NativeLibrary(library=None, reason="broken")
    monkeypatch.setattr(native_pool, "load_native", lambda: absent)
    monkeypatch.setattr(native_pool, "_pools", {})
    with pytest.raises(BackendUnavailable, match="broken"):
        native_pool.pool(1)


def test_signatures_are_those_of_the_header():
    declared = functions_of(HEADER)
    for name, (result, arguments) in native_signatures.SIGNATURES.items():
        result_text, argument_texts = declared[name]
        assert fits(result, result_text), name
        assert len(arguments) == len(argument_texts), name
        for argument, text in zip(arguments, argument_texts, strict=True):
            assert fits(argument, text), f"{name}: {text}"


def test_structures_are_those_of_the_header():
    structures = {
        kind.__doc__.split("`")[1]: kind
        for kind in vars(native_signatures).values()
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure)
    }
    declared = structures_of(HEADER)
    assert structures
    for name, kind in structures.items():
        assert [field for field, _ in kind._fields_] == [field for field, _ in declared[name]]
        for (field, field_type), (_, text) in zip(kind._fields_, declared[name], strict=True):
            assert fits(field_type, text), f"{name}.{field}"


def folder():
    """Gives where the libraries are."""
    return native._folder()


def plain(header):
    """Gives a header's text without comments and line breaks."""
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL))


def functions_of(header):
    """Gives every function's result and arguments as they are written."""
    found = re.findall(r"XLSTMD_EXPORT ([\w ]+?[ *]+)(xlstmd_\w+)\(([^)]*)\);", plain(header))
    return {
        name: (result.strip(), [] if arguments == "void" else arguments.split(","))
        for result, name, arguments in found
    }


def structures_of(header):
    """Gives every structure's fields as `(name, declaration)`."""
    found = re.findall(r"typedef struct \{([^}]*)\} (xlstmd_\w+);", plain(header))
    return {name: list(fields_of(body)) for body, name in found}


def fields_of(body):
    """Takes declarations such as `const float *a, *b;` apart."""
    for line in filter(str.strip, body.split(";")):
        kind, names = re.fullmatch(r"\s*((?:const )?\w+) (.*)", line).groups()
        for name in names.split(","):
            yield re.search(r"\w+", name)[0], f"{kind} {name}"


def fits(kind, text):
    """Says whether a type of ctypes is what a declaration asks for."""
    if kind is not None and hasattr(kind, "_length_"):
        return "[" in text and fits(kind._type_, text.split("[")[0])
    if "*" in text:
        is_address = kind in (ctypes.c_void_p, ctypes.c_char_p)
        return is_address or (kind is not None and issubclass(kind, ctypes._Pointer))
    word = text.replace("const ", "").split()[0]
    if word.startswith("xlstmd_team_"):
        # An address of a function that Python has from elsewhere.
        return kind is ctypes.c_void_p
    return kind is NUMBERS[word]
