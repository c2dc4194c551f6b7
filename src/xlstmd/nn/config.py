"""Shapes of blocks and backbones. Architecture only: stored with the weights. No torch in here."""

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, TypeVar

from xlstmd.errors import ConfigError

Norm = Literal["layer", "rms"]
Activation = Literal["gelu", "silu"]
ForgetGate = Literal["sigmoid", "exp"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForwardConfig:
    """A gated feed-forward layer: down(activation(gate(x)) * up(x)).

    Attributes:
      factor: hidden width by model width, before rounding.
      multiple_of: hidden width is rounded up to it.
      activation: of the gate branch.
    """

    factor: float = 8.0 / 3.0
    multiple_of: int = 64
    activation: Activation = "silu"

    def __post_init__(self) -> None:
        """Checks the fields."""
        _at_least("factor", self.factor, 1e-3)
        _at_least("multiple_of", self.multiple_of, 1)
        _one_of("activation", self.activation, ("gelu", "silu"))

    def hidden_width(self, width: int) -> int:
        """Gives the hidden width for a model width."""
        return -(-int(self.factor * width + 1e-9) // self.multiple_of) * self.multiple_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SLSTMBlockConfig:
    """Post-up-projection sLSTM block: x + sLSTM(norm x), then x + feed-forward(norm x).

    With a convolution, layer norms and GELU it is the block of the xLSTM paper (arXiv:2405.04517,
    figure 10); without one, with RMS norms and SwiGLU, that of TiRex (arXiv:2505.23719).

    Attributes:
      width: of the model; a multiple of `num_heads`.
      num_heads: groups of units that never mix in the recurrence.
      conv_window: steps that the input and forget gates see; 0 for no convolution.
      forget_gate: `sigmoid` or `exp`.
      gate_soft_cap: bound of input and forget pre-activations; None for none.
      norm: before both halves.
      norm_eps: of all norms, but for the heads' where they have their own.
      head_norm_eps: of the norm over the units of each head; None for `norm_eps`.
      feedforward: second half.
    """

    kind: ClassVar[str] = "slstm"
    width: int
    num_heads: int
    conv_window: int = 4
    forget_gate: ForgetGate = "sigmoid"
    gate_soft_cap: float | None = None
    norm: Norm = "layer"
    norm_eps: float = 1e-5
    head_norm_eps: float | None = None
    feedforward: FeedForwardConfig = field(
        default_factory=lambda: FeedForwardConfig(factor=1.3, activation="gelu")
    )

    def __post_init__(self) -> None:
        """Checks the fields."""
        _heads(self.width, self.num_heads)
        _at_least("conv_window", self.conv_window, 0)
        _one_of("forget_gate", self.forget_gate, ("sigmoid", "exp"))
        _one_of("norm", self.norm, ("layer", "rms"))

    @property
    def head_width(self) -> int:
        """Units per head."""
        return self.width // self.num_heads

    @property
    def head_eps(self) -> float:
        """Of the norm over the units of each head."""
        return self.norm_eps if self.head_norm_eps is None else self.head_norm_eps


@dataclass(frozen=True, slots=True, kw_only=True)
class MLSTMBlockConfig:
    """Post-up-projection mLSTM block of the large models: x + mLSTM(norm x), x + SwiGLU(norm x).

    Source: xLSTM 7B, arXiv:2503.13427, section 3.

    Attributes:
      width: of the model; a multiple of `num_heads`.
      num_heads: matrix memories.
      qk_ratio: query and key width by value width.
      gate_soft_cap: bound of both gate pre-activations; None for none.
      eps: of the denominator.
      stabilizer_start: of an empty memory.
      norm: before both halves.
      norm_eps: of all norms.
      feedforward: second half.
    """

    kind: ClassVar[str] = "mlstm"
    width: int
    num_heads: int
    qk_ratio: float = 0.5
    gate_soft_cap: float | None = 15.0
    eps: float = 0.0
    stabilizer_start: float = -1e30
    norm: Norm = "rms"
    norm_eps: float = 1e-6
    feedforward: FeedForwardConfig = field(default_factory=FeedForwardConfig)

    def __post_init__(self) -> None:
        """Checks the fields."""
        _heads(self.width, self.num_heads)
        _at_least("qk_ratio", self.qk_ratio, 1e-3)
        _one_of("norm", self.norm, ("layer", "rms"))
        if self.qk_width < 1:
            raise ConfigError(f"qk_ratio: expected a query of 1 unit or more, got {self.qk_ratio}")

    @property
    def value_width(self) -> int:
        """Value units per head."""
        return self.width // self.num_heads

    @property
    def qk_width(self) -> int:
        """Query and key units per head."""
        return int(self.width * self.qk_ratio) // self.num_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class PreUpMLSTMBlockConfig:
    """Pre-up-projection mLSTM block of the xLSTM paper (arXiv:2405.04517, figure 11).

    Attributes:
      width: of the model.
      num_heads: matrix memories; divides the inner width.
      up_factor: inner width by model width.
      multiple_of: inner width is rounded up to it.
      conv_window: steps that queries and keys see, 1 or more.
      projection_block: size of the diagonal blocks of the q, k and v maps.
      eps: of the denominator.
      stabilizer_start: of an empty memory.
      norm_eps: of all norms.
    """

    kind: ClassVar[str] = "preup_mlstm"
    width: int
    num_heads: int
    up_factor: float = 2.0
    multiple_of: int = 64
    conv_window: int = 4
    projection_block: int = 4
    eps: float = 0.0
    stabilizer_start: float = -1e30
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        """Checks the fields."""
        _at_least("up_factor", self.up_factor, 1e-3)
        _at_least("conv_window", self.conv_window, 1)
        _heads(self.inner_width, self.num_heads)
        if self.inner_width % self.projection_block:
            raise ConfigError(
                f"projection_block: expected a divisor of the inner width {self.inner_width}, "
                f"got {self.projection_block}"
            )

    @property
    def inner_width(self) -> int:
        """Width inside of the block."""
        return -(-int(self.up_factor * self.width) // self.multiple_of) * self.multiple_of

    @property
    def head_width(self) -> int:
        """Query, key and value units per head."""
        return self.inner_width // self.num_heads


BlockConfig = SLSTMBlockConfig | MLSTMBlockConfig | PreUpMLSTMBlockConfig
_KINDS: dict[str, type[SLSTMBlockConfig] | type[MLSTMBlockConfig] | type[PreUpMLSTMBlockConfig]] = {
    config.kind: config for config in (SLSTMBlockConfig, MLSTMBlockConfig, PreUpMLSTMBlockConfig)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneConfig:
    """A stack of blocks.

    Attributes:
      width: of the model; every block has it.
      blocks: from the input to the output, spelled out.
      norm: after the last block.
      norm_eps: of that norm.
    """

    width: int
    blocks: tuple[BlockConfig, ...]
    norm: Norm = "rms"
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        """Checks the fields."""
        if not self.blocks:
            raise ConfigError("blocks: expected at least one, got none")
        for index, block in enumerate(self.blocks):
            if block.width != self.width:
                raise ConfigError(
                    f"blocks[{index}].width: expected {self.width}, got {block.width}"
                )
        _one_of("norm", self.norm, ("layer", "rms"))

    def to_dict(self) -> dict[str, Any]:
        """Gives the configuration as plain values; `from_dict` reads it."""
        plain = dataclasses.asdict(self)
        plain["blocks"] = [
            {"kind": block.kind, **dataclasses.asdict(block)} for block in self.blocks
        ]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads a configuration.

        Raises:
          ConfigError: an unknown, missing or unfit field.
        """
        known = dict(values)
        known["blocks"] = tuple(_block(entry) for entry in known.get("blocks", ()))
        return build(cls, known, "backbone")


def build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Makes a dataclass of plain values.

    Raises:
      ConfigError: an unknown field, with the nearest known one; or a missing one.
    """
    names = [entry.name for entry in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{where}: unknown field {name}{hint}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}") from None


def _block(entry: Mapping[str, Any]) -> BlockConfig:
    values = dict(entry)
    kind = values.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"blocks.kind: expected one of {', '.join(_KINDS)}, got {kind}")
    if "feedforward" in values:
        values["feedforward"] = build(FeedForwardConfig, values["feedforward"], "feedforward")
    return build(_KINDS[kind], values, f"blocks ({kind})")


def _heads(width: int, num_heads: int) -> None:
    _at_least("num_heads", num_heads, 1)
    _at_least("width", width, 1)
    if width % num_heads:
        raise ConfigError(f"width: expected a multiple of num_heads {num_heads}, got {width}")


def _at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ConfigError(f"{name}: expected {least} or more, got {value}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}: expected one of {', '.join(known)}, got {value}")
