"""The stored numbers of the native driver are those of the reference forms as they are now."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden.native import make_native_golden as golden

FOLDER = Path(__file__).parent
FILES = sorted(path.name for path in FOLDER.glob("*.bin"))
TYPES = {b"f": np.float32, b"i": np.int64, b"b": np.uint8}


def read(file):
    """Gives every array of a file by name."""
    data = file.read_bytes()
    assert data.startswith(golden.MAGIC)
    place, arrays = len(golden.MAGIC), {}
    while place < len(data):
        name = data[place : place + golden.NAME_BYTES].rstrip(b"\0").decode()
        place += golden.NAME_BYTES
        kind, axes = TYPES[data[place : place + 1]], data[place + 1]
        shape = np.frombuffer(data, dtype="<i8", count=axes, offset=place + 2)
        place += 2 + 8 * axes
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, kind, count, place).reshape(shape)
        place += arrays[name].nbytes
    return arrays


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes all files anew."""
    folder = tmp_path_factory.mktemp("golden")
    golden.main(folder)
    return folder


def test_all_files_are_stored_and_small(written):
    assert sorted(path.name for path in written.iterdir()) == FILES
    assert sum((FOLDER / name).stat().st_size for name in FILES) < 300_000


@pytest.mark.parametrize("name", FILES)
def test_stored_numbers_are_the_reference_forms(name, written):
    stored, now = read(FOLDER / name), read(written / name)
    assert stored.keys() == now.keys()
    for key, array in stored.items():
        # Exact but for what another machine's float64 leaves after rounding to float32.
        np.testing.assert_allclose(now[key], array, rtol=3e-7, atol=1e-7, err_msg=key)
