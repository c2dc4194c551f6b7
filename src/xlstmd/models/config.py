"""Shape of a forecaster. Architecture only: stored with the weights. No torch in here."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

from xlstmd.errors import ConfigError
from xlstmd.models.network_config import NetworkConfig
from xlstmd.nn.config import BackboneConfig, build

# Beside the two windows a token carries: last observed value, distance to it, number of observed
# points, share of the patch that is new.
EXTRA_FEATURES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecasterConfig:
    """A patch forecaster.

    Attributes:
      patch_length: points between two tokens, and points that a token forecasts.
      window_length: points that a token sees, its own patch included.
      context_length: points that are encoded again when the scale is renewed; see `scaling`.
      quantile_levels: that the head gives, rising.
      hidden_width: of the two-layer maps into and out of the backbone.
      backbone: in between.
    """

    patch_length: int
    window_length: int
    context_length: int
    quantile_levels: tuple[float, ...]
    hidden_width: int
    backbone: BackboneConfig

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("patch_length", "hidden_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.window_length < self.patch_length:
            raise ConfigError(
                f"window_length: expected {self.patch_length} or more, got {self.window_length}"
            )
        if self.context_length < 2 * self.window_length:
            raise ConfigError(
                f"context_length: expected {2 * self.window_length} or more, "
                f"got {self.context_length}"
            )
        levels = self.quantile_levels
        rising = all(low < high for low, high in pairwise(levels))
        if len(levels) < 2 or not rising or not 0.0 < levels[0] < levels[-1] < 1.0:
            raise ConfigError(
                f"quantile_levels: expected two or more rising ones between 0 and 1, got {levels}"
            )

    @property
    def num_features(self) -> int:
        """Numbers per token."""
        return 2 * self.window_length + EXTRA_FEATURES

    @property
    def last_value_feature(self) -> int:
        """Place of the last observed value among a token's features."""
        return 2 * self.window_length

    @property
    def network(self) -> NetworkConfig:
        """Shape of the network, for a runtime."""
        return NetworkConfig(
            num_features=self.num_features,
            hidden_width=self.hidden_width,
            patch_length=self.patch_length,
            num_quantiles=len(self.quantile_levels),
            backbone=self.backbone,
            added_feature=self.last_value_feature,
        )

    def to_dict(self) -> dict[str, Any]:
        """Gives the configuration as plain values; `from_dict` reads it."""
        plain = dataclasses.asdict(self)
        plain["quantile_levels"] = list(self.quantile_levels)
        plain["backbone"] = self.backbone.to_dict()
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Reads a configuration.

        Raises:
          ConfigError: an unknown, missing or unfit field.
        """
        known = dict(values)
        for name, read in (("backbone", BackboneConfig.from_dict), ("quantile_levels", tuple)):
            if name not in known:
                raise ConfigError(f"forecaster: missing field {name}")
            known[name] = read(known[name])
        return build(cls, known, "forecaster")
