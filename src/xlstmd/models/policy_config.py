"""Shape of a policy. Architecture only: stored with the weights. No torch in here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from xlstmd.errors import ConfigError
from xlstmd.models.presets import mixed_blocks
from xlstmd.nn.config import BackboneConfig, build

Squash = Literal["tanh", "clip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteHead:
    """One of several choices; the likeliest one is served.

    Attributes:
      num_choices: 2 or more.
    """

    kind: ClassVar[str] = "discrete"
    num_choices: int

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.num_choices < 2:
            raise ConfigError(f"num_choices: expected 2 or more, got {self.num_choices}")

    @property
    def num_outputs(self) -> int:
        """Numbers that the network gives per step."""
        return self.num_choices


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuousHead:
    """Numbers within bounds; the mean of a normal distribution is served.

    Attributes:
      size: numbers of an action.
      squash: how the network's numbers come into [-1, 1], which stands for the bounds.
    """

    kind: ClassVar[str] = "continuous"
    size: int
    squash: Squash = "clip"

    def __post_init__(self) -> None:
        """Checks the fields."""
        if self.size < 1:
            raise ConfigError(f"size: expected 1 or more, got {self.size}")
        if self.squash not in ("tanh", "clip"):
            raise ConfigError(f"squash: expected tanh or clip, got {self.squash}")

    @property
    def num_outputs(self) -> int:
        """Numbers that the network gives per step."""
        return self.size


PolicyHead = DiscreteHead | ContinuousHead
_HEADS: dict[str, type[DiscreteHead] | type[ContinuousHead]] = {
    head.kind: head for head in (DiscreteHead, ContinuousHead)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """A map of observations into the backbone, the backbone, and a map to the head's numbers.

    Attributes:
      observation_choices: for each number of an observation how many choices it has, which enter
        one-hot; 0 for a quantity, which enters normalized.
      head: what an action is.
      backbone: in between.
    """

    observation_choices: tuple[int, ...]
    head: PolicyHead
    backbone: BackboneConfig

    def __post_init__(self) -> None:
        """Checks the fields."""
        choices = self.observation_choices
        if not choices or any(count < 0 or count == 1 for count in choices):
            raise ConfigError(
                f"observation_choices: expected 0, or 2 or more, for each number, got {choices}"
            )

    @property
    def num_observations(self) -> int:
        """Numbers of an observation."""
        return len(self.observation_choices)

    @property
    def num_inputs(self) -> int:
        """Numbers that enter the network per step."""
        return sum(max(count, 1) for count in self.observation_choices)

    def to_dict(self) -> dict[str, Any]:
        """Gives the configuration as plain values; `from_dict` reads it."""
        return {
            "observation_choices": list(self.observation_choices),
            "head": {"kind": self.head.kind, **dataclasses.asdict(self.head)},
            "backbone": self.backbone.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads a configuration.

        Raises:
          ConfigError: an unknown, missing or unfit field.
        """
        known = dict(values)
        for name, read in (
            ("observation_choices", tuple),
            ("head", _head),
            ("backbone", BackboneConfig.from_dict),
        ):
            if name not in known:
                raise ConfigError(f"policy: missing field {name}")
            known[name] = read(known[name])
        return build(cls, known, "policy")


def small_policy(
    observation_choices: tuple[int, ...],
    head: PolicyHead,
    *,
    width: int = 64,
    num_heads: int = 2,
    pattern: str = "ms",
) -> PolicyConfig:
    """Gives the architecture of the shipped policies: an mLSTM block and an sLSTM block.

    Args:
      observation_choices: see `PolicyConfig`.
      head: see `PolicyConfig`.
      width: of the model.
      num_heads: of every block.
      pattern: one letter a block, see `presets.mixed_blocks`.
    """
    blocks = mixed_blocks(width, num_heads, pattern)
    return PolicyConfig(
        observation_choices=observation_choices,
        head=head,
        backbone=BackboneConfig(width=width, blocks=blocks),
    )


def _head(values: Mapping[str, Any]) -> PolicyHead:
    entry = dict(values)
    kind = entry.pop("kind", None)
    if kind not in _HEADS:
        raise ConfigError(f"head.kind: expected one of {', '.join(_HEADS)}, got {kind}")
    return build(_HEADS[kind], entry, f"head ({kind})")
