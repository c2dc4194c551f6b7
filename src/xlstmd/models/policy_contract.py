"""What a policy promises and expects: names, units, bounds, rates, ages, fallback. No torch."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xlstmd.errors import ConfigError
from xlstmd.nn.config import build

Numbers = NDArray[np.float64]
OnDeadline = Literal["fallback", "error"]
Field = TypeVar("Field", "ObservationField", "ActionField")

HOLD: Final = "hold"
ZERO: Final = "zero"
_MS_PER_S: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationField:
    """One number of an observation.

    Attributes:
      name: of the quantity.
      unit: empty for none.
      low: least value that can occur; None for no bound.
      high: largest value that can occur; None for no bound.
      choices: what the whole numbers from 0 on mean; empty where the number is a quantity.
    """

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the fields."""
        _check_field("observations", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionField:
    """One number of an action.

    Attributes:
      name: of the quantity.
      unit: empty for none.
      low: least value that is ever given.
      high: largest value that is ever given.
      max_rate: largest change, in units a second; None for no limit.
      choices: what the whole numbers from 0 on mean; empty where the number is a quantity.
    """

    name: str
    unit: str = ""
    low: float
    high: float
    max_rate: float | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks the fields."""
        _check_field("actions", self)
        if self.max_rate is not None and not (self.max_rate > 0.0 and not self.choices):
            raise ConfigError(
                f"actions.{self.name}.max_rate: expected a number above 0 of a quantity, "
                f"got {self.max_rate}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyContract:
    """What holds for every answer of a policy.

    Attributes:
      observations: in the order of the numbers.
      actions: in the order of the numbers.
      step_ms: time between two steps for which the policy was made.
      fallback: what is done where the policy cannot say: `hold` the last action (`zero` before the
        first), `zero`, or a name of `named_actions`.
      named_actions: complete actions by name.
      max_age_ms: age from which an observation is stale; None for any.
      deadline_ms: in which an answer is due, unless the request says another one.
      on_deadline: what a late step does: answers the `fallback`, or is an `error`.
      valid_for_ms: how long an action may be applied without a newer one.
    """

    observations: tuple[ObservationField, ...]
    actions: tuple[ActionField, ...]
    step_ms: float
    fallback: str = HOLD
    named_actions: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    max_age_ms: float | None = None
    deadline_ms: float
    on_deadline: OnDeadline = "fallback"
    valid_for_ms: float

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("observations", "actions"):
            names = [entry.name for entry in getattr(self, name)]
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"{name}: expected one or more of different names, got {names}")
        for name in ("step_ms", "deadline_ms", "valid_for_ms"):
            if not getattr(self, name) > 0.0:
                raise ConfigError(f"{name}: expected a number above 0, got {getattr(self, name)}")
        if self.max_age_ms is not None and not self.max_age_ms > 0.0:
            raise ConfigError(f"max_age_ms: expected a number above 0, got {self.max_age_ms}")
        if self.on_deadline not in ("fallback", "error"):
            raise ConfigError(f"on_deadline: expected fallback or error, got {self.on_deadline}")
        if self.fallback not in (HOLD, ZERO, *self.named_actions):
            known = ", ".join((HOLD, ZERO, *self.named_actions))
            raise ConfigError(f"fallback: expected one of {known}, got {self.fallback}")
        self._check_actions()

    @property
    def low(self) -> Numbers:
        """Least value of each number of an action."""
        return np.array([entry.low for entry in self.actions])

    @property
    def high(self) -> Numbers:
        """Largest value of each number of an action."""
        return np.array([entry.high for entry in self.actions])

    def fallback_action(self, last: Numbers | None) -> Numbers:
        """Gives what is done where the policy cannot say.

        Args:
          last: the action before; None before the first one.
        """
        if self.fallback == HOLD and last is not None:
            return self.bounded(last)
        return np.array(self.named_actions.get(self.fallback, (0.0,) * len(self.actions)))

    def bounded(self, action: Numbers) -> Numbers:
        """Gives the nearest action [..., A] within the bounds."""
        return np.clip(action, self.low, self.high)

    def rate_limited(self, action: Numbers, last: Numbers, elapsed_s: float) -> Numbers:
        """Gives the nearest action [..., A] that the rate limits allow.

        Args:
          action: that is wanted.
          last: the one before.
          elapsed_s: since that one; more than `step_ms` counts as `step_ms`.
        """
        span = min(elapsed_s, self.step_ms / _MS_PER_S)
        change = np.array(
            [np.inf if entry.max_rate is None else entry.max_rate * span for entry in self.actions]
        )
        return np.clip(action, last - change, last + change)

    def to_dict(self) -> dict[str, Any]:
        """Gives the contract as plain values; `from_dict` reads it."""
        plain = dataclasses.asdict(self)
        for name in ("observations", "actions"):
            plain[name] = [entry | {"choices": list(entry["choices"])} for entry in plain[name]]
        plain["named_actions"] = {name: list(a) for name, a in self.named_actions.items()}
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads a contract.

        Raises:
          ConfigError: an unknown, missing or unfit field.
        """
        known = dict(values)
        known["observations"] = _fields(ObservationField, known.get("observations", ()))
        known["actions"] = _fields(ActionField, known.get("actions", ()))
        named = known.get("named_actions", {})
        known["named_actions"] = {name: tuple(action) for name, action in named.items()}
        return build(cls, known, "contract")

    def _check_actions(self) -> None:
        zero = {ZERO: (0.0,) * len(self.actions)} if self.fallback in (HOLD, ZERO) else {}
        for name, action in (dict(self.named_actions) | zero).items():
            if len(action) != len(self.actions) or (self.bounded(np.array(action)) != action).any():
                raise ConfigError(
                    f"named_actions.{name}: expected {len(self.actions)} numbers within the "
                    f"bounds, got {list(action)}"
                )


def _fields(cls: type[Field], entries: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    return tuple(
        build(cls, {**entry, "choices": tuple(entry.get("choices", ()))}, cls.__name__)
        for entry in entries
    )


def _check_field(group: str, entry: "ObservationField | ActionField") -> None:
    if entry.choices and (entry.low, entry.high) != (0, len(entry.choices) - 1):
        raise ConfigError(
            f"{group}.{entry.name}: expected bounds 0 and {len(entry.choices) - 1} of "
            f"{len(entry.choices)} choices, got {entry.low} and {entry.high}"
        )
    for name in ("low", "high"):
        value = getattr(entry, name)
        if value is not None and not np.isfinite(value):
            raise ConfigError(f"{group}.{entry.name}.{name}: expected a finite number, got {value}")
    if entry.low is not None and entry.high is not None and entry.low >= entry.high:
        raise ConfigError(
            f"{group}.{entry.name}: expected low below high, got {entry.low} and {entry.high}"
        )
