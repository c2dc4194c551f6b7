"""Which implementation of an operation runs: chosen once, at load, with a reason for each refusal.

The tuple `IMPLEMENTATIONS` in an operation's package is its registry: best first, the reference
last. Nothing is dispatched per call.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from xlstmd.errors import BackendUnavailable, ConfigError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an implementation must be able to do.

    Attributes:
      device: kind of device, as torch names it: `cpu`, `cuda`.
      dtype: dtype of the state and of the arithmetic.
      needs_grad: whether a backward pass may follow.
    """

    device: str = "cpu"
    dtype: str = "float32"
    needs_grad: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Implementation:
    """One form of an operation; its module is imported only when it is chosen.

    Attributes:
      name: what people call it.
      module: import path of a module with `init`, `sequence` and `step`.
      refuses: gives the reason why it cannot run a problem, or None.
    """

    name: str
    module: str
    refuses: Callable[[Problem], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """The chosen form: plain functions that a layer keeps.

    Attributes:
      name: of the implementation.
      init: gives the state before the first step.
      sequence: runs many steps.
      step: runs one step.
      refusals: why each better implementation was passed over.
    """

    name: str
    init: Callable[..., Any]
    sequence: Callable[..., Any]
    step: Callable[..., Any]
    refusals: dict[str, str] = field(default_factory=dict)


def full_precision_only(problem: Problem) -> str | None:
    """Refuses dtypes in which a long-lived memory would lose its digits."""
    if problem.dtype in ("float32", "float64"):
        return None
    return f"needs a float32 or float64 state, got {problem.dtype}"


@cache
def select(
    op: str,
    implementations: tuple[Implementation, ...],
    problem: Problem,
    prefer: str = "auto",
) -> Operation:
    """Chooses the first implementation that fits, or the one that is asked for; logs it once.

    Args:
      op: name of the operation, for messages.
      implementations: candidates, best first.
      problem: what must be possible.
      prefer: an implementation's name, or `auto`.

    Raises:
      ConfigError: no implementation has that name.
      BackendUnavailable: the one asked for, or every one, refuses. There is no silent fallback.
    """
    known = [candidate.name for candidate in implementations]
    if prefer != "auto" and prefer not in known:
        raise ConfigError(f"{op}: expected auto or one of {', '.join(known)}, got {prefer}")
    refusals: dict[str, str] = {}
    for candidate in implementations:
        if prefer not in ("auto", candidate.name):
            continue
        reason = candidate.refuses(problem)
        if reason is None:
            return _load(op, candidate, refusals)
        refusals[candidate.name] = reason
    reasons = "; ".join(f"{name}: {reason}" for name, reason in refusals.items())
    raise BackendUnavailable(f"{op} cannot run on {problem}: {reasons}", refusals)


def _load(op: str, chosen: Implementation, refusals: dict[str, str]) -> Operation:
    module = import_module(chosen.module)
    _log.info(
        "implementation selected", extra={"op": op, "chosen": chosen.name, "refusals": refusals}
    )
    return Operation(
        name=chosen.name,
        init=module.init,
        sequence=module.sequence,
        step=module.step,
        refusals=refusals,
    )
