"""The forecaster's network in torch: embedding, backbone, quantile head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlstmd.models.config import ForecasterConfig
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.mlstm import MLSTMLayer
from xlstmd.nn.slstm import SLSTMLayer
from xlstmd.nn.state import BackboneState


class TwoLayerMap(nn.Module):
    """down(silu(up(x))) plus a linear skip."""

    def __init__(self, width_in: int, hidden: int, width_out: int) -> None:
        """Builds the three maps."""
        super().__init__()
        self.up = nn.Linear(width_in, hidden)
        self.down = nn.Linear(hidden, width_out)
        self.skip = nn.Linear(width_in, width_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps the last axis."""
        out: Tensor = self.down(functional.silu(self.up(x))) + self.skip(x)
        return out


class ForecastNetwork(nn.Module):
    """Features of tokens in, quantiles of the points after each token out, in scaled units."""

    def __init__(self, config: ForecasterConfig) -> None:
        """Builds the network; untrained it forecasts the last value with a bell around it."""
        super().__init__()
        self.config = config
        width, outputs = config.backbone.width, config.patch_length * len(config.quantile_levels)
        self.embedding = TwoLayerMap(config.num_features, config.hidden_width, width)
        self.backbone = Backbone(config.backbone)
        self.head = TwoLayerMap(width, config.hidden_width, outputs)
        self._start()

    def init_state(self, batch_size: int) -> BackboneState:
        """Gives the state before the first token."""
        return self.backbone.init_state(batch_size)

    def forward(
        self, features: Tensor, valid: Tensor, state: BackboneState, outputs: int | None = None
    ) -> tuple[Tensor, BackboneState]:
        """Runs tokens.

        Args:
          features: [B, N, F], see `patching.make_features`.
          valid: [B, N], False where a token is padding.
          state: before the first token; not modified.
          outputs: for how many of the last tokens quantiles are wanted; None for all.

        Returns:
          [B, outputs, P, Q], not yet sorted, and the state after the last token.
        """
        hidden, state = self.backbone(self.embedding(features), state, valid=valid)
        if outputs is not None:
            hidden = hidden[:, hidden.shape[1] - outputs :]
            features = features[:, features.shape[1] - outputs :]
        shape = (self.config.patch_length, len(self.config.quantile_levels))
        raw = self.head(hidden).unflatten(-1, shape)
        last = features[..., self.config.last_value_feature]
        return raw + last[..., None, None], state

    def _start(self) -> None:
        """Sets first weights that differ from the published ones of language models."""
        levels = torch.tensor(self.config.quantile_levels, dtype=torch.float64)
        bell = math.sqrt(2.0) * torch.special.erfinv(2.0 * levels - 1.0)
        with torch.no_grad():
            for layer in (self.head.down, self.head.skip):
                layer.weight.mul_(0.1)
            self.head.down.bias.copy_(bell.float().repeat(self.config.patch_length))
            for module in self.modules():
                # A series has tens of tokens, not thousands: input gates start open, and
                # forgetting spreads over short spans.
                if isinstance(module, MLSTMLayer):
                    module.input_gate.bias.zero_()
                if isinstance(module, SLSTMLayer):
                    module.bias[1] = torch.linspace(0.5, 4.0, module.bias.shape[-1])
