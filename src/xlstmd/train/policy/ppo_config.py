"""How a policy learns. No torch in here."""

from dataclasses import dataclass

from xlstmd.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PPOConfig:
    """How a policy learns.

    Attributes:
      total_steps: of all environments together.
      num_envs: environments, N.
      rollout_steps: of each environment between two updates, T; a multiple of `segment`.
      segment: steps that gradients flow back through.
      epochs: passes over a rollout.
      batch_segments: segments in a minibatch.
      learning_rate: at the start.
      last_learning_rate: share of it at the end; in between it falls evenly.
      discount: gamma.
      decay: lambda of the advantages.
      clip: of the ratio of probabilities.
      max_distance: mean divergence of a pass from the rollout's policy after which there is no
        further pass over it.
      entropy: weight of its bonus at the start; falls like the learning rate.
      value: weight of the critic's loss.
      gradient_norm: largest one.
      scale_rewards: whether rewards are divided by the deviation of returns.
      log_std: first scatter of continuous actions, as a logarithm.
      noise_memory: correlation of their noise from step to step.
      input_noise: deviation of noise on encoded observations, in training alone: what is to be
        remembered has to stand out from it.
      forget_bias: see `ActorCritic`.
      input_bias: see `ActorCritic`.
      trial_episodes: by which the weights at twenty places of a run are judged.
    """

    total_steps: int
    num_envs: int = 8
    rollout_steps: int = 128
    segment: int = 128
    epochs: int = 10
    batch_segments: int = 4
    learning_rate: float = 1e-3
    last_learning_rate: float = 0.0
    discount: float = 0.99
    decay: float = 0.95
    clip: float = 0.2
    max_distance: float = float("inf")
    entropy: float = 0.0
    value: float = 0.5
    gradient_norm: float = 0.5
    scale_rewards: bool = True
    log_std: float = -0.5
    noise_memory: float = 0.0
    input_noise: float = 0.0
    forget_bias: float = 4.0
    input_bias: float = 0.0
    trial_episodes: int = 50

    def __post_init__(self) -> None:
        """Checks the fields."""
        for name in ("total_steps", "num_envs", "rollout_steps", "segment", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        if self.rollout_steps % self.segment:
            raise ConfigError(
                f"rollout_steps: expected a multiple of segment {self.segment}, "
                f"got {self.rollout_steps}"
            )
