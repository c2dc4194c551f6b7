"""A policy as a daemon runs it: what its lane needs to know, and how it is tried out. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xlstmd.errors import ModelFailed
from xlstmd.models.policy import Policy, load_policy
from xlstmd.models.policy_step import PolicyStep
from xlstmd.models.policy_streams import PolicyStreams
from xlstmd.models.usual_observations import UsualObservations


class ServedPolicy:
    """A policy whose episodes lie in slots.

    Attributes:
      name: without version.
      version: rises when the weights change.
      identity: name and version.
      fingerprint: a memory continues only under it.
      slot_bytes: of one memory.
    """

    def __init__(self, policy: Policy) -> None:
        """Keeps the policy."""
        self.name = policy.name
        self.version = policy.version
        self.identity = f"{policy.name}@{policy.version}"
        self.fingerprint = policy.fingerprint
        self.slot_bytes = policy.slot_bytes
        self._policy = policy

    def describe(self) -> Mapping[str, Any]:
        """Gives facts that can be written as JSON."""
        return self._policy.describe()

    @property
    def guards(self) -> Mapping[str, Any]:
        """What its steps are guarded by: contract, and which observations are usual."""
        contract = self._policy.contract
        usual = UsualObservations.of(contract, self._policy.checkpoint.statistics)
        return {"contract": contract.to_dict(), "usual": usual.to_dict()}

    def streams(self, slots: int) -> PolicyStreams:
        """Allocates all slots."""
        return PolicyStreams(self._policy, slots)

    def try_out(self) -> None:
        """Takes one step with an empty memory.

        Raises:
          ModelFailed: what comes of it is not finite.
        """
        seen = np.asarray(self._policy.checkpoint.statistics.mean, dtype=np.float64)[None]
        (answer,) = PolicyStreams(self._policy, 1).run([PolicyStep(slot=0, observations=seen)])
        if not answer.is_sound.all() or not np.isfinite(answer.actions).all():
            raise ModelFailed("observation", "a finite action for the mean observation", "another")


def load_served_policy(
    name_or_path: str | Path, *, runtime: str | None, threads: int, precision: str
) -> ServedPolicy:
    """Loads a policy to serve it; arguments and errors as for `load_policy`."""
    return ServedPolicy(
        load_policy(name_or_path, runtime=runtime, threads=threads, precision=precision)
    )
