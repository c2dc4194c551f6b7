"""Reads what `torch.save` wrote: a zip of a pickle and raw numbers. No torch, nothing executed.

A pickle is a program. This one may call two functions, both ours, which put tensors together; any
other global that it names ends the reading. Format: PyTorch, notes on serialization semantics.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import CheckpointError

Array = NDArray[Any]

_PICKLE: Final = "/data.pkl"
_BFLOAT16: Final = "torch.BFloat16Storage"

# bfloat16 is the upper half of float32.
_DTYPES: Final = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    _BFLOAT16: "u2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "b1",
}
_REBUILD: Final = "torch._utils._rebuild_tensor_v2"
_PARAMETER: Final = "torch._utils._rebuild_parameter"
_PLAIN: Final[dict[str, type]] = {
    "collections.OrderedDict": OrderedDict,
    "torch.Size": tuple,
}
_WORDS: Final = (
    *(f"torch.{name}" for name in ("float16", "bfloat16", "float32", "float64", "int64", "bool")),
    *_DTYPES,
)

# What reading a damaged or hostile pickle or zip raises.
_DAMAGE: Final = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


def read_archive(path: Path) -> Any:
    """Gives the object in an archive, its tensors as arrays.

    Args:
      path: a file that `torch.save` wrote in the format of PyTorch 1.6 and later.

    Returns:
      Dictionaries, lists and plain values. Tensors are read-only arrays, which may share memory as
      the tensors did; bfloat16 comes as float32, all other types as they are.

    Raises:
      CheckpointError: the file is absent, damaged or of another format, or asks for something that
        is not on the list; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive).read()
    except CheckpointError as error:
        raise CheckpointError(f"{path.name}: {error}") from None
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path.name}: expected a readable torch archive, got {type(error).__name__}: {error}"
        ) from None


class _Word:
    """A name in a pickle that stands for itself. A pickle can neither change nor fill it."""

    __slots__ = ("name",)
    name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "name", name)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{self.name} cannot be changed")


class _Call(_Word):
    """A function in a pickle that gives a tensor."""

    __slots__ = ()

    def __call__(self, first: object, *rest: object) -> Array:
        """Puts a tensor together; a parameter is the tensor in it."""
        if not isinstance(first, np.ndarray):
            raise CheckpointError(f"{self.name}: expected numbers, got {type(first).__name__}")
        return first if self.name == _PARAMETER else _view(first, *rest)


class _Reader(pickle.Unpickler):
    """Unpickles plain values and tensors."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.endswith(_PICKLE)]
        if len(pickles) != 1:
            raise CheckpointError(f"expected one data.pkl in the archive, got {len(pickles)}")
        self._archive = archive
        self._entries = entries
        self._root = pickles[0].removesuffix(_PICKLE)
        self._storages: dict[tuple[str, str], Array] = {}
        self._is_big = self._bytes("byteorder", b"little") == b"big"
        super().__init__(io.BytesIO(self._bytes("data.pkl")))

    def read(self) -> Any:
        """Gives the object."""
        return self.load()

    def find_class(self, module: str, name: str) -> Any:
        """Gives what stands for a global."""
        full = f"{module}.{name}"
        if full in (_REBUILD, _PARAMETER):
            return _Call(full)
        if full in _PLAIN:
            return _PLAIN[full]
        if full in _WORDS:
            return _Word(full)
        raise CheckpointError(f"expected tensors and plain values, refused the global {full}")

    def persistent_load(self, pid: Any) -> Array:
        """Gives the numbers of a storage, in one line."""
        kind, word, key, _, count = pid
        if kind != "storage" or not isinstance(word, _Word) or word.name not in _DTYPES:
            raise CheckpointError(f"expected a storage of a known type, got {kind} {word}")
        if (word.name, key) not in self._storages:
            dtype = np.dtype((">" if self._is_big else "<") + _DTYPES[word.name])
            numbers = np.frombuffer(self._bytes(f"data/{key}"), dtype=dtype)
            if len(numbers) != count:
                raise CheckpointError(f"data/{key}: expected {count} numbers, got {len(numbers)}")
            self._storages[word.name, key] = _native(numbers, word.name)
        return self._storages[word.name, key]

    def _bytes(self, name: str, absent: bytes | None = None) -> bytes:
        entry = self._entries.get(f"{self._root}/{name}")
        if entry is None:
            if absent is None:
                raise CheckpointError(f"{name}: expected in the archive, got nothing")
            return absent
        if entry.compress_type != zipfile.ZIP_STORED:
            # Torch never compresses; what does could unfold to any size.
            raise CheckpointError(f"{name}: expected it uncompressed")
        return self._archive.read(entry)


def _native(numbers: Array, kind: str) -> Array:
    """Gives numbers in this machine's order of bytes, read-only."""
    if kind == _BFLOAT16:
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    elif not numbers.dtype.isnative:
        numbers = numbers.astype(numbers.dtype.newbyteorder("="))
    numbers.flags.writeable = False
    return numbers


def _view(storage: Array, *rest: Any) -> Array:
    """Gives a tensor: offset, size and strides over a storage, checked against its end."""
    offset, size, strides = rest[:3]
    numbers = (offset, *size, *strides)
    whole = all(isinstance(number, int) and number >= 0 for number in numbers)
    if storage.ndim != 1 or not whole or len(size) != len(strides):
        raise CheckpointError(f"tensor: expected sizes and strides, got {size} and {strides}")
    if 0 in size:
        return np.empty(size, dtype=storage.dtype)
    last = offset + sum((n - 1) * stride for n, stride in zip(size, strides, strict=True))
    if last >= len(storage):
        raise CheckpointError(
            f"tensor: expected it inside of {len(storage)} numbers, got one at place {last}"
        )
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
