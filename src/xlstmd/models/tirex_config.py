"""Shape of a TiRex. Architecture only. No torch in here."""

from dataclasses import dataclass
from itertools import pairwise

from xlstmd.errors import ConfigError
from xlstmd.models.network_config import NetworkConfig
from xlstmd.nn.config import BackboneConfig, FeedForwardConfig, SLSTMBlockConfig

_NORM_EPS = 1e-6
_HEAD_NORM_EPS = 1e-5
_FEEDFORWARD = FeedForwardConfig(factor=2.6667, multiple_of=64, activation="silu")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiRexConfig:
    """A decoder-only forecaster of sLSTM blocks over patches that do not overlap.

    Source: TiRex, arXiv:2505.23719, section 3.

    Attributes:
      patch_length: points that a token sees, and that it forecasts, P.
      context_length: points that are seen, a multiple of `patch_length`; a shorter series is filled
        up with missing points on the left.
      quantile_levels: that the head gives, rising.
      hidden_width: of the two-layer maps into and out of the backbone.
      width: of the backbone.
      num_heads: of every block.
      num_blocks: sLSTM blocks.
    """

    patch_length: int
    context_length: int
    quantile_levels: tuple[float, ...]
    hidden_width: int
    width: int
    num_heads: int
    num_blocks: int

    def __post_init__(self) -> None:
        """Checks the fields; those of the blocks are checked by `network`."""
        for name in ("patch_length", "context_length", "num_blocks"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.context_length % self.patch_length:
            raise ConfigError(
                f"context_length: expected a multiple of {self.patch_length}, "
                f"got {self.context_length}"
            )
        levels = self.quantile_levels
        rising = all(low < high for low, high in pairwise(levels))
        if len(levels) < 2 or not rising or not 0.0 < levels[0] < levels[-1] < 1.0:
            raise ConfigError(
                f"quantile_levels: expected two or more rising ones between 0 and 1, got {levels}"
            )

    @property
    def num_tokens(self) -> int:
        """Tokens of a full context."""
        return self.context_length // self.patch_length

    @property
    def feedforward_width(self) -> int:
        """Hidden width of the second half of a block."""
        return _FEEDFORWARD.hidden_width(self.width)

    @property
    def network(self) -> NetworkConfig:
        """Shape of the network, for a runtime: values and presence flags of one patch in."""
        block = SLSTMBlockConfig(
            width=self.width,
            num_heads=self.num_heads,
            conv_window=0,
            norm="rms",
            norm_eps=_NORM_EPS,
            head_norm_eps=_HEAD_NORM_EPS,
            feedforward=_FEEDFORWARD,
        )
        return NetworkConfig(
            num_features=2 * self.patch_length,
            hidden_width=self.hidden_width,
            patch_length=self.patch_length,
            num_quantiles=len(self.quantile_levels),
            backbone=BackboneConfig(
                width=self.width,
                blocks=(block,) * self.num_blocks,
                norm="rms",
                norm_eps=_NORM_EPS,
            ),
            activation="relu",
            has_skip_bias=True,
        )
