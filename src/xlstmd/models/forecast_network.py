"""A network that forecasts from tokens, in torch: embedding, backbone, quantile head."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from xlstmd.models.config import ForecasterConfig
from xlstmd.models.network_config import MapActivation, NetworkConfig
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.linear import Linear
from xlstmd.nn.mlstm import MLSTMLayer
from xlstmd.nn.slstm import SLSTMLayer
from xlstmd.nn.state import BackboneState


class TwoLayerMap(nn.Module):
    """down(activation(up(x))) plus a linear skip."""

    def __init__(
        self,
        width_in: int,
        hidden: int,
        width_out: int,
        *,
        activation: MapActivation,
        has_skip_bias: bool,
    ) -> None:
        """Builds the three maps."""
        super().__init__()
        self.up = Linear(width_in, hidden)
        self.down = Linear(hidden, width_out)
        self.skip = Linear(width_in, width_out, bias=has_skip_bias)
        self._activation = functional.silu if activation == "silu" else functional.relu

    def forward(self, x: Tensor) -> Tensor:
        """Maps the last axis."""
        out: Tensor = self.down(self._activation(self.up(x))) + self.skip(x)
        return out


class ForecastNetwork(nn.Module):
    """Features of tokens in, quantiles of the points after each token out, in scaled units."""

    def __init__(self, config: NetworkConfig) -> None:
        """Builds the network; `untrained_network` gives one that can learn to forecast."""
        super().__init__()
        self.config = config
        width = config.backbone.width
        self.embedding = _two_layer_map(config, config.num_features, width)
        self.backbone = Backbone(config.backbone)
        self.head = _two_layer_map(config, width, config.num_outputs)

    def init_state(self, batch_size: int) -> BackboneState:
        """Gives the state before the first token."""
        return self.backbone.init_state(batch_size)

    def forward(
        self, features: Tensor, valid: Tensor, state: BackboneState, outputs: int | None = None
    ) -> tuple[Tensor, BackboneState]:
        """Runs tokens.

        Args:
          features: [B, N, F], for our own forecasters see `patching.make_features`.
          valid: [B, N], False where a token is padding.
          state: before the first token; not modified.
          outputs: for how many of the last tokens quantiles are wanted; None for all.

        Returns:
          [B, outputs, P, Q], not yet sorted, and the state after the last token.
        """
        config = self.config
        hidden, state = self.backbone(self.embedding(features), state, valid=valid)
        if outputs is not None:
            hidden = hidden[:, hidden.shape[1] - outputs :]
            features = features[:, features.shape[1] - outputs :]
        raw = self.head(hidden).unflatten(-1, (config.patch_length, config.num_quantiles))
        if config.added_feature is not None:
            raw = raw + features[..., config.added_feature, None, None]
        return raw, state


def untrained_network(config: ForecasterConfig) -> ForecastNetwork:
    """Gives a network that has learned nothing yet: last value, with a bell around it.

    Its first weights differ in places from the published ones of language models.
    """
    network = ForecastNetwork(config.network)
    levels = torch.tensor(config.quantile_levels, dtype=torch.float64)
    bell = math.sqrt(2.0) * torch.special.erfinv(2.0 * levels - 1.0)
    with torch.no_grad():
        for layer in (network.head.down, network.head.skip):
            layer.weight.mul_(0.1)
        network.head.down.bias.copy_(bell.float().repeat(config.patch_length))
        for module in network.modules():
            # A series has tens of tokens, not thousands: input gates start open, and forgetting
            # spreads over short spans.
            if isinstance(module, MLSTMLayer):
                module.input_gate.bias.zero_()
            if isinstance(module, SLSTMLayer):
                module.bias[1] = torch.linspace(0.5, 4.0, module.bias.shape[-1])
    return network


def _two_layer_map(config: NetworkConfig, width_in: int, width_out: int) -> TwoLayerMap:
    return TwoLayerMap(
        width_in,
        config.hidden_width,
        width_out,
        activation=config.activation,
        has_skip_bias=config.has_skip_bias,
    )
