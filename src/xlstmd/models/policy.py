"""Policies: observations in, one action each out; what was seen lies in a state of fixed size."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xlstmd.errors import InputError, ModelFailed, ShapeError
from xlstmd.models.observation_statistics import ObservationDistances, ObservationEncoder
from xlstmd.models.policy_checkpoint import PolicyCheckpoint, find_policy, read_policy
from xlstmd.models.policy_config import ContinuousHead, PolicyHead, Squash
from xlstmd.models.policy_contract import PolicyContract
from xlstmd.models.policy_runtime import Floats, PolicyRuntime, Slots, make_policy_runtime
from xlstmd.ops.native import load_native

Numbers = NDArray[np.float64]

_BYTES_PER_NUMBER = 4


class Policy:
    """A trained policy with its contract; `load_policy` loads one.

    Attributes:
      checkpoint: what it was made of.
      contract: what it promises and expects.
      runtime: that runs its network.
      encoder: of observations.
      decoder: of the head's numbers.
      distances: says how unusual observations are.
      name: without version.
      version: rises when the weights change.
    """

    def __init__(self, checkpoint: PolicyCheckpoint, runtime: PolicyRuntime) -> None:
        """Puts weights and runtime together."""
        self.checkpoint = checkpoint
        self.contract = checkpoint.contract
        self.runtime = runtime
        self.encoder = ObservationEncoder(
            checkpoint.config.observation_choices, checkpoint.statistics
        )
        self.decoder = ActionDecoder(checkpoint.config.head, checkpoint.contract)
        self.distances = ObservationDistances(checkpoint.statistics)
        self.name = checkpoint.name
        self.version = checkpoint.version

    @property
    def slot_bytes(self) -> int:
        """Bytes of one episode's state, whatever its length."""
        return _BYTES_PER_NUMBER * self.runtime.state_size

    @property
    def fingerprint(self) -> str:
        """Hash of what an episode's state depends on: it continues only under the same one."""
        parts = (
            f"{self.name}@{self.version}",
            self.checkpoint.sha256,
            self.runtime.name,
            self.runtime.precision,
            str(self.slot_bytes),
        )
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def describe(self) -> Mapping[str, Any]:
        """Gives facts that can be written as JSON."""
        checkpoint = self.checkpoint
        return {
            "name": self.name,
            "version": self.version,
            "kind": "policy",
            "parameters": sum(array.size for array in checkpoint.weights.values()),
            "state_bytes": self.slot_bytes,
            "runtime": self.runtime.name,
            "precision": self.runtime.precision,
            "native_library": load_native().summary,
            "licence": checkpoint.licence,
            "sha256": checkpoint.sha256,
            "contract": self.contract.to_dict(),
            "training": dict(checkpoint.training),
        }

    def episodes(self, slots: int = 1, rows: int | None = None) -> "PolicyEpisodes":
        """Allocates episodes that move forward together.

        Args:
          slots: places of states.
          rows: most episodes of one step; None for as many as slots.
        """
        return PolicyEpisodes(self, slots, rows)

    def replay(self, observations: ArrayLike, starts: NDArray[np.bool_] | None = None) -> Numbers:
        """Gives the action to each of several observations, from an empty memory.

        Args:
          observations: [B, T, F], finite.
          starts: [B, T], True where an episode starts; None for the first step alone.

        Returns:
          Actions [B, T, A].

        Raises:
          InputError: an observation is not finite, or an array has another shape.
        """
        seen = self.checked(observations, 3)
        rows = len(seen)
        outputs = self.runtime.run(
            self.encoder(seen),
            self.runtime.init_state(rows),
            np.arange(rows, dtype=np.int64),
            starts,
        )
        return self.decoder(outputs)

    def checked(self, observations: ArrayLike, axes: int) -> Numbers:
        """Gives observations [..., F] as numbers.

        Raises:
          InputError: an observation is not finite, or the array has another shape.
        """
        numbers: Numbers = np.asarray(observations, dtype=np.float64)
        size = len(self.contract.observations)
        if numbers.ndim != axes or numbers.shape[-1] != size:
            expected = f"{axes} axes, the last one of {size} numbers"
            raise ShapeError("observations", expected, f"{list(numbers.shape)}")
        if not np.isfinite(numbers).all():
            bad = numbers[~np.isfinite(numbers)][0]
            raise InputError("observations", "finite numbers", str(bad), code="non_finite")
        return numbers


class PolicyEpisodes:
    """Episodes whose memories lie in slots of one arena; see `Policy.episodes`.

    Attributes:
      arena: [slots, S], the memories; rows may be copied, exchanged and stored by the caller.
    """

    arena: Floats

    def __init__(self, policy: Policy, slots: int, rows: int | None = None) -> None:
        """Allocates the arena, every memory empty."""
        self.policy = policy
        self.arena = policy.runtime.init_state(slots)
        self._empty = policy.runtime.init_state(1)[0]
        self._stepper = policy.runtime.stepper(self.arena, slots if rows is None else rows)

    def reset(self, slots: Slots | Sequence[int] | slice = slice(None)) -> None:
        """Empties memories: a new episode starts in these slots."""
        self.arena[slots] = self._empty

    def act(
        self,
        observations: ArrayLike,
        source: Slots | Sequence[int] | None = None,
        target: Slots | Sequence[int] | None = None,
    ) -> Numbers:
        """Takes in one observation of each of several episodes and gives their actions.

        Args:
          observations: [B, F], finite.
          source: [B], slot of each episode; None for the first B.
          target: [B], slot in which its memory is after the step; None for `source`.

        Returns:
          Actions [B, A] within the contract's bounds; rate limits are the caller's.

        Raises:
          InputError: an observation is not finite, a slot does not exist, or an array has another
            shape; no memory has changed then.
          ModelFailed: an action is not finite.
        """
        seen = self.policy.checked(observations, 2)
        rows, stepper = len(seen), self._stepper
        slots = np.arange(rows) if source is None else source
        if rows > len(stepper.x):
            raise InputError("observations", f"at most {len(stepper.x)} rows", str(rows))
        stepper.x[:rows] = self.policy.encoder(seen)
        stepper.source[:rows] = slots
        stepper.target[:rows] = slots if target is None else target
        stepper.step(rows)
        return self.policy.decoder(stepper.y[:rows])


class ActionDecoder:
    """Turns a head's numbers into actions within the bounds of a contract."""

    def __init__(self, head: PolicyHead, contract: PolicyContract) -> None:
        """Prepares the decoding."""
        self._head = head
        self._low, self._high = contract.low, contract.high

    def __call__(self, outputs: Floats) -> Numbers:
        """Gives the likeliest actions [..., A] by numbers [..., O].

        Raises:
          ModelFailed: a number is not finite.
        """
        if not np.isfinite(outputs).all():
            raise ModelFailed("action", "finite numbers", "a number that is not finite")
        if isinstance(self._head, ContinuousHead):
            return self.scaled(outputs, self._head.squash)
        likeliest: Numbers = outputs.argmax(axis=-1)[..., None].astype(np.float64)
        return likeliest

    def scaled(self, numbers: NDArray[np.floating[Any]], squash: Squash) -> Numbers:
        """Gives actions by numbers whose [-1, 1] stand for the bounds."""
        inside = np.tanh(numbers) if squash == "tanh" else np.clip(numbers, -1.0, 1.0)
        action = self._low + 0.5 * (inside + 1.0) * (self._high - self._low)
        bounded: Numbers = np.clip(action, self._low, self._high)
        return bounded


def load_policy(
    name_or_path: str | Path,
    *,
    runtime: str | None = None,
    threads: int = 1,
    precision: str = "float32",
) -> Policy:
    """Loads a policy.

    Args:
      name_or_path: a shipped one by name, or a folder.
      runtime: by name; None takes the best that can run here.
      threads: that it computes with.
      precision: of dense products, `float32`, `bfloat16` or `int8`.

    Raises:
      CheckpointError: there is no such policy, or its files are damaged.
      BackendUnavailable: no runtime can run it, with the reasons.
    """
    checkpoint = read_policy(find_policy(name_or_path))
    runs = make_policy_runtime(
        checkpoint.config,
        checkpoint.weights,
        runtime,
        threads=threads,
        precision=precision,
    )
    return Policy(checkpoint, runs)
