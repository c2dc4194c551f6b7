"""What is trained: the policy's network, a value of each state, and how far actions scatter."""

import math
from typing import Final

import torch
from torch import Tensor, nn

from xlstmd.models.policy_config import ContinuousHead, PolicyConfig
from xlstmd.models.policy_network import PolicyNetwork
from xlstmd.nn import initializers
from xlstmd.nn.linear import Linear
from xlstmd.nn.mlstm import MLSTMLayer
from xlstmd.nn.slstm import SLSTMLayer
from xlstmd.nn.state import BackboneState

_FIRST_HEAD: Final = 0.01


class ActorCritic(nn.Module):
    """A policy and its critic on one backbone; only the policy is served."""

    def __init__(
        self, config: PolicyConfig, *, log_std: float, forget_bias: float, input_bias: float
    ) -> None:
        """Builds the networks.

        Args:
          config: of the policy.
          log_std: first logarithm of the scatter of continuous actions, in units of half the
            bounds' distance.
          forget_bias: largest first bias of forget gates: about the logarithm of the span of
            steps that is remembered from the start.
          input_bias: first bias of input gates: 0 writes all that comes, much less only what
            training finds worth keeping.
        """
        super().__init__()
        self.policy = PolicyNetwork(config)
        self.critic = Linear(config.backbone.width, 1)
        head = config.head
        size = head.size if isinstance(head, ContinuousHead) else 0
        self.log_std = nn.Parameter(torch.full((size,), log_std))
        with torch.no_grad():
            nn.init.orthogonal_(self.policy.head.weight, _FIRST_HEAD)
            nn.init.zeros_(self.policy.head.bias)
            nn.init.orthogonal_(self.critic.weight)
            nn.init.zeros_(self.critic.bias)
            initializers.small(self.policy.embedding.weight, config.num_inputs)
            self._set_gates(forget_bias, input_bias)

    def _set_gates(self, forget_bias: float, input_bias: float) -> None:
        for module in self.modules():
            if isinstance(module, MLSTMLayer):
                module.input_gate.bias.fill_(input_bias)
                spread = torch.linspace(1.0, forget_bias, module.config.num_heads)
                module.forget_gate.bias.copy_(spread)
            if isinstance(module, SLSTMLayer):
                module.bias[0] = input_bias
                module.bias[1] = torch.linspace(0.0, forget_bias, module.bias.shape[-1])

    def forward(self, inputs: Tensor, state: BackboneState, reset: Tensor) -> tuple[Tensor, Tensor]:
        """Runs sequences.

        Args:
          inputs: [B, T, I].
          state: before the first step.
          reset: [B, T], True where an episode starts.

        Returns:
          Numbers of the head [B, T, O], and values [B, T].
        """
        hidden, _ = self.policy.hidden(inputs, state, reset)
        return self.policy.head(hidden), self.critic(hidden).squeeze(-1)

    def log_probability(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Gives logarithms of the probability of actions, and entropies.

        Args:
          outputs: numbers of the head [..., O].
          actions: [..., 1] choices, or [..., A] numbers before they are squashed.
        """
        if not len(self.log_std):
            logs = torch.log_softmax(outputs, dim=-1)
            entropy = -(logs.exp() * logs).sum(-1)
            return logs.gather(-1, actions.long()).squeeze(-1), entropy
        scaled = (actions - outputs) * torch.exp(-self.log_std)
        constant = 0.5 * math.log(2.0 * math.pi)
        logs = (-0.5 * scaled**2 - self.log_std - constant).sum(-1)
        entropy = (self.log_std + constant + 0.5).sum().expand(logs.shape)
        return logs, entropy
