"""How tensors go into the native library and come back."""

import ctypes
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from xlstmd.errors import ShapeError
from xlstmd.ops.native import load_native
from xlstmd.ops.native_team import team

_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
_PLAIN = (Tensor, torch.nn.Parameter)


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
      ShapeError: it has another shape, lies elsewhere than on the CPU, or is of a subclass.
    """
    if tensor.shape != torch.Size(shape) or not tensor.is_cpu or type(tensor) not in _PLAIN:
        got = f"{type(tensor).__name__} {list(tensor.shape)} on {tensor.device.type}"
        raise ShapeError(name, f"{list(shape)} on cpu", got)


def fits(*tensors: Tensor) -> bool:
    """Says whether the library has a form for tensors of this kind and dtype on this device.

    A module may have been moved to others after its form was chosen, and tensors of torch's
    subclasses may have no numbers behind them.
    """
    dtype = tensors[0].dtype
    alike = all(type(x) in _PLAIN and x.dtype == dtype and x.is_cpu for x in tensors)
    return alike and dtype in _SUFFIXES


def rows_of(x: Tensor, axes: int = 1) -> int:
    """Gives how many rows there are before the last axes, also where those are empty."""
    return math.prod(x.shape[: x.dim() - axes])


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
