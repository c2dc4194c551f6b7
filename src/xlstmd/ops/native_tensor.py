"""How tensors go into the native library and come back."""

import ctypes
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from xlstmd.errors import ShapeError
from xlstmd.ops.native import load_native
from xlstmd.ops.native_team import team

_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}


def dense(tensors: Iterable[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Gives tensors of one dtype whose numbers lie without gaps, in the order of their axes."""
    return [tensor.to(dtype).contiguous() for tensor in tensors]


def address(tensor: Tensor | None) -> int | None:
    """Gives where a dense tensor's numbers lie, for a pointer argument; None for a null."""
    return None if tensor is None else tensor.data_ptr()


def addresses(tensors: Sequence[Tensor | None]) -> ctypes.Array[ctypes.c_void_p]:
    """Gives an array of such addresses."""
    return (ctypes.c_void_p * len(tensors))(*map(address, tensors))


def mask(name: str, steps: Tensor | None, rows: int, length: int) -> Tensor | None:
    """Gives a mask [rows, length] with a byte for each step.

    Raises:
      ShapeError: it is another one, or no mask.
    """
    if steps is None:
        return None
    expect(name, steps, (rows, length))
    if steps.dtype != torch.bool:
        raise ShapeError(name, "booleans", str(steps.dtype))
    return steps.contiguous()


def expect(name: str, tensor: Tensor, shape: Sequence[int]) -> None:
    """Refuses a tensor that the library would read beyond its end.

    Raises:
      ShapeError: it has another shape, or lies elsewhere than on the CPU.
    """
    if tensor.shape != torch.Size(shape) or tensor.device.type != "cpu":
        got = f"{list(tensor.shape)} on {tensor.device.type}"
        raise ShapeError(name, f"{list(shape)} on cpu", got)


def fits(*tensors: Tensor) -> bool:
    """Says whether the library has a form for tensors of this dtype on this device.

    A module may have been moved to others after its form was chosen.
    """
    dtype = tensors[0].dtype
    alike = all(x.dtype == dtype and x.device.type == "cpu" for x in tensors)
    return alike and dtype in _SUFFIXES


def wants_gradient(tensors: Iterable[Tensor | None]) -> bool:
    """Says whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)


def size(name: str, dtype: torch.dtype, problem: ctypes.Structure) -> int:
    """Asks how many numbers a function saves for its backward pass."""
    count: int = _function(name, dtype)(ctypes.byref(problem))
    return count


def run(name: str, dtype: torch.dtype, problem: ctypes.Structure, *arguments: object) -> None:
    """Calls a function on as many threads as torch uses.

    Args:
      name: without the ending that tells the dtype.
      dtype: float32 or float64.
      problem: what is computed.
      arguments: those after the pool and the problem.

    Raises:
      MemoryError: no memory for the function's scratch; nothing was written then.
    """
    run_plain(name, dtype, ctypes.byref(problem), *arguments)


def run_plain(name: str, dtype: torch.dtype, *arguments: object) -> None:
    """Calls a function whose problem is said by its arguments; see `run`.

    Raises:
      MemoryError: no memory for the function's scratch; nothing was written then.
    """
    if _function(name, dtype)(team(), *arguments) != 0:
        raise MemoryError(f"{name}: no memory")


def _function(name: str, dtype: torch.dtype) -> "ctypes._NamedFuncPointer":
    library = load_native().library
    assert library is not None
    function: ctypes._NamedFuncPointer = getattr(library, f"{name}_{_SUFFIXES[dtype]}")
    return function
