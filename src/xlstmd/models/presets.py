"""Complete configurations by name. A variant calls another one and replaces fields."""

from collections.abc import Callable
from typing import Final

from xlstmd.errors import ConfigError
from xlstmd.models.config import ForecasterConfig
from xlstmd.nn.config import (
    BackboneConfig,
    BlockConfig,
    FeedForwardConfig,
    MLSTMBlockConfig,
    PreUpMLSTMBlockConfig,
    SLSTMBlockConfig,
)

QUANTILE_LEVELS: Final = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def mixed_blocks(width: int, num_heads: int, pattern: str) -> tuple[BlockConfig, ...]:
    """Gives post-up-projection blocks with RMS norms and SwiGLU.

    Args:
      width: of the model.
      num_heads: of every block.
      pattern: one letter a block, `s` for sLSTM and `m` for mLSTM.
    """
    feedforward = FeedForwardConfig(factor=2.0, multiple_of=32)
    kinds: dict[str, BlockConfig] = {
        "s": SLSTMBlockConfig(
            width=width,
            num_heads=num_heads,
            conv_window=0,
            norm="rms",
            norm_eps=1e-6,
            feedforward=feedforward,
        ),
        "m": MLSTMBlockConfig(width=width, num_heads=num_heads, feedforward=feedforward),
    }
    return tuple(kinds[letter] for letter in pattern)


def xlstm_blocks(
    width: int, num_heads: int, num_blocks: int, slstm_at: tuple[int, ...]
) -> tuple[BlockConfig, ...]:
    """Gives the blocks of a paper xLSTM[m:k]: mLSTM but for the named places.

    Source: xLSTM, arXiv:2405.04517, section 2.4.
    """
    return tuple(
        SLSTMBlockConfig(width=width, num_heads=num_heads)
        if index in slstm_at
        else PreUpMLSTMBlockConfig(width=width, num_heads=num_heads)
        for index in range(num_blocks)
    )


def small() -> ForecasterConfig:
    """The shipped default: 1.5 million parameters, sLSTM and mLSTM in turns."""
    width = 160
    return ForecasterConfig(
        patch_length=32,
        window_length=64,
        context_length=1536,
        quantile_levels=QUANTILE_LEVELS,
        hidden_width=256,
        backbone=BackboneConfig(width=width, blocks=mixed_blocks(width, 5, "smsms")),
    )


def tiny() -> ForecasterConfig:
    """For tests and first tries: trains in a minute, forecasts badly."""
    width = 32
    return ForecasterConfig(
        patch_length=16,
        window_length=32,
        context_length=128,
        quantile_levels=QUANTILE_LEVELS,
        hidden_width=32,
        backbone=BackboneConfig(width=width, blocks=mixed_blocks(width, 2, "sm")),
    )


FORECASTERS: Final[dict[str, Callable[[], ForecasterConfig]]] = {"small": small, "tiny": tiny}


def forecaster(name: str) -> ForecasterConfig:
    """Gives a forecaster's configuration.

    Raises:
      ConfigError: no such preset.
    """
    if name not in FORECASTERS:
        raise ConfigError(f"preset: expected one of {', '.join(FORECASTERS)}, got {name}")
    return FORECASTERS[name]()
