"""A policy and its critic played by a runtime, without gradients: what rollouts are made with."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xlstmd.models.policy_config import ContinuousHead, PolicyConfig
from xlstmd.models.policy_runtime import Floats, make_policy_runtime
from xlstmd.train.policy.actor_critic import ActorCritic

Mask = NDArray[np.bool_]


class Player:
    """Memories of N environments, and as many spare slots to look ahead from.

    Attributes:
      memories: [N, S], of the environments; changed in place.
    """

    memories: Floats

    def __init__(self, model: ActorCritic, config: PolicyConfig, count: int) -> None:
        """Packs the weights as they are now.

        Args:
          model: to be played.
          config: of its policy.
          count: environments, N.
        """
        size = config.head.num_outputs
        # The critic is one more output, so that a step stays one call.
        joint = replace(config, head=ContinuousHead(size=size + 1))
        weights = {name: p.detach().numpy() for name, p in model.policy.named_parameters()}
        for part in ("weight", "bias"):
            own, critic = weights[f"head.{part}"], getattr(model.critic, part).detach().numpy()
            weights[f"head.{part}"] = np.concatenate([own, critic])
        runtime = make_policy_runtime(joint, weights)
        arena = runtime.init_state(2 * count)
        self._empty = runtime.init_state(1)[0]
        self._stepper = runtime.stepper(arena, count)
        self._slots = np.arange(count)
        self.memories = arena[:count]

    def empty(self, rows: Mask) -> None:
        """Empties memories."""
        if rows.any():
            self.memories[rows] = self._empty

    def step(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Moves all memories on by inputs [N, I].

        Returns:
          Numbers of the head [N, O], and values [N].
        """
        return self._run(inputs, self._slots, self._slots)

    def values(self, inputs: Floats, rows: NDArray[np.int64]) -> Floats:
        """Gives values of inputs [R, I] of some environments, whose memories stay as they are."""
        return self._run(inputs, rows, rows + len(self._slots))[1]

    def _run(
        self, inputs: Floats, source: NDArray[np.int64], target: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        stepper, rows = self._stepper, len(inputs)
        stepper.x[:rows] = inputs
        stepper.source[:rows] = source
        stepper.target[:rows] = target
        stepper.step(rows)
        outputs = stepper.y[:rows].copy()
        return outputs[:, :-1], outputs[:, -1]
