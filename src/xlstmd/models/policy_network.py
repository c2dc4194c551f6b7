"""The network of a policy, in torch: a map in, the backbone, and a map to the head's numbers."""

from torch import Tensor, nn

from xlstmd.models.policy_config import PolicyConfig
from xlstmd.nn.backbone import Backbone
from xlstmd.nn.linear import Linear
from xlstmd.nn.state import BackboneState


class PolicyNetwork(nn.Module):
    """Encoded observations in, the head's numbers of each step out."""

    def __init__(self, config: PolicyConfig) -> None:
        """Builds the network with first weights of a language model; training has its own."""
        super().__init__()
        self.config = config
        width = config.backbone.width
        self.embedding = Linear(config.num_inputs, width)
        self.backbone = Backbone(config.backbone)
        self.head = Linear(width, config.head.num_outputs)

    def init_state(self, batch_size: int) -> BackboneState:
        """Gives the state before the first step."""
        return self.backbone.init_state(batch_size)

    def hidden(
        self, inputs: Tensor, state: BackboneState, reset: Tensor | None = None
    ) -> tuple[Tensor, BackboneState]:
        """Gives what the head reads, [B, T, D]; arguments as in `forward`."""
        hidden, state = self.backbone(self.embedding(inputs), state, reset)
        return hidden, state

    def forward(
        self, inputs: Tensor, state: BackboneState, reset: Tensor | None = None
    ) -> tuple[Tensor, BackboneState]:
        """Runs a sequence.

        Args:
          inputs: [B, T, I], see `observation_statistics.ObservationEncoder`.
          state: before the first step; not modified.
          reset: [B, T], True where an episode starts.

        Returns:
          Numbers of the head [B, T, O], and the state after the last step.
        """
        hidden, state = self.hidden(inputs, state, reset)
        return self.head(hidden), state

    def step(self, inputs: Tensor, state: BackboneState) -> tuple[Tensor, BackboneState]:
        """Runs one step [B, I]; `state` is not modified."""
        hidden, state = self.backbone.step(self.embedding(inputs), state)
        return self.head(hidden), state
