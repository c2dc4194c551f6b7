"""Torch archives: tensors come out as torch would give them; nothing else happens."""

import os
import pickle
import zipfile
from collections import OrderedDict, deque

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xlstmd.errors import CheckpointError
from xlstmd.models.foreign.torch_archive import read_archive

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool,
)  # fmt: skip


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        """Gives the command."""
        return os.system, (f"touch {self.path}",)


def saved(content, path, **options):
    torch.save(content, path, **options)
    return path


def pickled(content, path, **entries):
    """Writes an archive whose pickle torch did not make."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "x/data.pkl", content if isinstance(content, bytes) else pickle.dumps(content)
        )
        for name, data in entries.items():
            archive.writestr(f"x/{name}", data)
    return path


def assert_same(array, tensor):
    expected = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    assert array.dtype == expected.numpy().dtype
    np.testing.assert_array_equal(array, expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_as_it_is(tmp_path, dtype):
    tensor = (100.0 * torch.randn(7, 3)).to(dtype)
    assert_same(read_archive(saved({"a": tensor}, tmp_path / "x.pt"))["a"], tensor)


def test_views_are_what_they_were(tmp_path):
    base = torch.arange(120.0).reshape(4, 5, 6)
    views = {
        "turned": base.permute(2, 0, 1),
        "part": base[1:3, ::2, 4],
        "expanded": base[:, :1].expand(4, 9, 6),
        "scalar": base[3, 4, 5],
        "empty": base[:0],
        "parameter": torch.nn.Parameter(base[2]),
    }
    read = read_archive(saved(views, tmp_path / "x.pt"))
    assert list(read) == list(views)
    for name, tensor in views.items():
        assert_same(read[name], tensor.detach())


def test_shared_storages_stay_shared(tmp_path):
    base = torch.zeros(1000)
    read = read_archive(saved([base[:10], base[5:]], tmp_path / "x.pt"))
    assert np.shares_memory(*read)
    assert not read[0].flags.writeable


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_and_module_states_come_back(tmp_path, protocol):
    state = torch.nn.Linear(2, 3).state_dict()
    content = {"n": [1, 2.5, None, True, "text", (3, -(2**40))], "s": state, "z": torch.Size([2])}
    read = read_archive(saved(content, tmp_path / "x.pt", pickle_protocol=protocol))
    assert read["n"] == content["n"]
    assert read["z"] == (2,)
    assert isinstance(read["s"], OrderedDict)
    for name, tensor in state.items():
        assert_same(read["s"][name], tensor)


def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path):
    trace = tmp_path / "trace"
    path = saved({"a": torch.zeros(2), "b": Malicious(trace)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"x\.pt: .*refused the global {os.name}\.system"):
        read_archive(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [(deque([1]), r"collections\.deque"), (torch.device("cpu"), r"torch\.device"), (len, "len")],
)
def test_what_is_not_on_the_list_is_named(tmp_path, content, named):
    with pytest.raises(CheckpointError, match=f"refused the global .*{named}"):
        read_archive(saved({"a": content}, tmp_path / "x.pt"))


@pytest.mark.parametrize(
    "build",
    [
        # Attributes for our own function, through a dictionary and through a pair.
        b"ctorch._utils\n_rebuild_tensor_v2\n(dX\x01\x00\x00\x00aK\x01ub.",
        b"ctorch._utils\n_rebuild_tensor_v2\nN(dX\x04\x00\x00\x00nameK\x01u\x86b.",
        b"ccollections\nOrderedDict\n(dX\x01\x00\x00\x00aK\x01ub.",
        b"ccollections\nOrderedDict\nN(dX\x01\x00\x00\x00aK\x01u\x86b.",
    ],
)
def test_a_pickle_changes_nothing_of_ours(tmp_path, build):
    with pytest.raises(CheckpointError, match="readable torch archive"):
        read_archive(pickled(build, tmp_path / "x.pt"))


class Stored:
    """Pickles to a call of `_rebuild_tensor_v2` on a storage of four floats."""

    def __init__(self, *arguments, count=4):
        self.arguments = arguments
        self.count = count

    def __reduce__(self):
        """Gives the call."""
        return torch._utils._rebuild_tensor_v2, (("here", self.count), *self.arguments)


class Pickler(pickle.Pickler):
    """Writes `("here", n)` as a storage."""

    def persistent_id(self, obj):
        """Gives what torch writes for a storage."""
        if isinstance(obj, tuple) and obj[:1] == ("here",):
            return "storage", torch.FloatStorage, "0", "cpu", obj[1]
        return None


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Stored(0, (5,), (1,)), "one at place 4"),
        (Stored(2, (2, 2), (2, 1)), "one at place 5"),
        (Stored(10**30, (1,), (1,)), "one at place"),
        (Stored(-1, (2,), (1,)), "sizes and strides"),
        (Stored(0, (2,), (-1,)), "sizes and strides"),
        (Stored(0, (2, 2), (1,)), "sizes and strides"),
        (Stored(0, (2.0,), (1,)), "sizes and strides"),
        (Stored(0, (2**62, 2**62), (0, 0)), "readable torch archive"),
        (Stored(0, "ab", (1, 1)), "sizes and strides"),
        (Stored(0), "readable torch archive"),
        (Stored(0, (4,), (1,), count=5), "expected 5 numbers, got 4"),
    ],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, stored, message):
    path = tmp_path / "body"
    with path.open("wb") as file:
        Pickler(file, protocol=2).dump(stored)
    archive = pickled(path.read_bytes(), tmp_path / "x.pt", **{"data/0": bytes(16)})
    with pytest.raises(CheckpointError, match=message):
        read_archive(archive)


def test_big_endian_numbers_are_turned(tmp_path):
    path = tmp_path / "body"
    with path.open("wb") as file:
        Pickler(file, protocol=2).dump(Stored(0, (4,), (1,)))
    numbers = np.arange(4, dtype=">f4").tobytes()
    entries = {"data/0": numbers, "byteorder": b"big"}
    read = read_archive(pickled(path.read_bytes(), tmp_path / "x.pt", **entries))
    np.testing.assert_array_equal(read, [0.0, 1.0, 2.0, 3.0])


@given(share=st.floats(0.0, 0.999))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("cut")
    data = saved({"a": torch.randn(500)}, folder / "x.pt").read_bytes()
    (folder / "y.pt").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"y\.pt"):
        read_archive(folder / "y.pt")


@given(place=st.floats(0.0, 0.999), mask=st.integers(1, 255))
def test_a_damaged_file_is_refused_or_read_the_same(tmp_path_factory, place, mask):
    folder = tmp_path_factory.mktemp("damaged")
    tensor = torch.randn(500)
    data = bytearray(saved({"a": tensor}, folder / "x.pt").read_bytes())
    data[int(place * len(data))] ^= mask
    (folder / "y.pt").write_bytes(data)
    try:
        read = read_archive(folder / "y.pt")
    except CheckpointError:
        return
    # Some bytes of a zip say nothing: padding, dates.
    assert_same(read["a"], tensor)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        read_archive(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no archive")
    with pytest.raises(CheckpointError, match="not a zip file"):
        read_archive(tmp_path / "text.pt")
    torch.save({"a": 1}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"old\.pt"):
        read_archive(tmp_path / "old.pt")
    with zipfile.ZipFile(tmp_path / "empty.pt", "w"):
        pass
    with pytest.raises(CheckpointError, match=r"one data\.pkl"):
        read_archive(tmp_path / "empty.pt")
    with zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"." * 1000)
    with pytest.raises(CheckpointError, match="uncompressed"):
        read_archive(tmp_path / "small.pt")
