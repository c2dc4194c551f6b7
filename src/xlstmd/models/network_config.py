"""Shape of a network that forecasts from tokens, whoever's it is. No torch in here."""

from dataclasses import dataclass
from typing import Literal, get_args

from xlstmd.errors import ConfigError
from xlstmd.nn.config import BackboneConfig

MapActivation = Literal["silu", "relu"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Features of tokens in, quantiles of the points after each token out.

    In between lie a two-layer map into the backbone, the backbone, and a two-layer map out of it:
    `down(activation(up(x))) + skip(x)`. All runtimes are built from this.

    Attributes:
      num_features: numbers per token, F.
      hidden_width: of both two-layer maps.
      patch_length: points that a token forecasts, P.
      num_quantiles: numbers per point, Q.
      backbone: in between.
      activation: of both two-layer maps.
      has_skip_bias: whether their skips have a bias of their own.
      added_feature: place of the feature that is added to every output; None for none.
    """

    num_features: int
    hidden_width: int
    patch_length: int
    num_quantiles: int
    backbone: BackboneConfig
    activation: MapActivation = "silu"
    has_skip_bias: bool = False
    added_feature: int | None = None

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("num_features", "hidden_width", "patch_length", "num_quantiles"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.activation not in get_args(MapActivation):
            known = ", ".join(get_args(MapActivation))
            raise ConfigError(f"activation: expected one of {known}, got {self.activation}")
        if self.added_feature is not None and not 0 <= self.added_feature < self.num_features:
            raise ConfigError(
                f"added_feature: expected one of {self.num_features} features, "
                f"got {self.added_feature}"
            )

    @property
    def num_outputs(self) -> int:
        """Numbers that the map out of the backbone gives per token, [P, Q] flattened."""
        return self.patch_length * self.num_quantiles
