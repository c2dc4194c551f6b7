"""A piece of work: what is computed, by whom, and what it costs at least."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import BenchmarkError
from xlstmd.errors import XlstmdError

Precision = Literal["fp32", "bf16", "int8"]
LongName = Literal["float32", "bfloat16", "int8"]
Weights = Mapping[str, NDArray[np.float32]]

# Bytes of a weight.
WEIGHT_BYTES: Final[dict[Precision, int]] = {"fp32": 4, "bf16": 2, "int8": 1}

# As the library names them.
LONG_NAMES: Final[dict[Precision, LongName]] = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "int8": "int8",
}

# Largest difference from the official result in fp32, in units of that result's spread.
TOLERANCE: Final[dict[Precision, float]] = {"fp32": 1e-5, "bf16": 4e-2, "int8": 5e-2}
# A peer that is further away computes something else; official code in bfloat16 is at 0.09.
PEER_TOLERANCE: Final = 0.2

# In goals: whichever peer is the fastest.
BEST: Final = "best"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to do the work.

    Args:
      label: short, for ids: `xlstm-compiled`; a precision for ours.
      name: what it is, with its version and setting.
      run: does the work once; this is timed.
      check: does it from a fresh start and gives the result; None where the function is another
        one, which is there for scale.
    """

    label: str
    name: str
    run: Callable[[], object]
    check: Callable[[], Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What any program must do for the work.

    Args:
      flops: floating point operations, a multiplication and an addition being two.
      weights: numbers read, each time that they must be read again.
      resident: different numbers among them.
      state_bytes: of states that are read and written.
    """

    flops: float
    weights: float = 0.0
    resident: float = 0.0
    state_bytes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One piece of work on one set of weights and inputs.

    Args:
      id: stable name.
      ours: by precision; may be empty where we cannot do it here.
      peers: the others.
      reference: gives the official result in fp32, which everybody is compared with.
      goals: (precision, peer's label) to the ratio that is wanted; the label `best` stands for
        the fastest of those that compute the same function.
      cost: None where no limit can be computed.
      gradients: whether it needs autograd.
      notes: why a candidate is missing.
    """

    id: str
    ours: Mapping[Precision, Candidate]
    peers: tuple[Candidate, ...]
    reference: Callable[[], Any]
    goals: Mapping[tuple[Precision, str], float] = field(default_factory=dict)
    cost: Cost | None = None
    gradients: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured.

    Args:
      threads: that every candidate computes with.
      quick: leaves out compiled peers and the largest batches.
    """

    threads: int = 2
    quick: bool = False


def ours_by_precision(
    precisions: tuple[Precision, ...], make: Callable[[Precision], Candidate]
) -> tuple[dict[Precision, Candidate], tuple[str, ...]]:
    """Builds our side in each precision that we have here; gives also why others are missing."""
    built: dict[Precision, Candidate] = {}
    notes = []
    for precision in precisions:
        try:
            built[precision] = make(precision)
        except (BenchmarkError, XlstmdError) as error:
            notes.append(f"ours, {precision}: {error}")
    return built, tuple(notes)
