"""What can be asked of a policy's session, and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from xlstmd.engine.policy_status import ActionStatus
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.state_arena import StateArena
from xlstmd.models.policy_step import PolicyAnswer, PolicyStep

Numbers = NDArray[np.float64]
OnDeadline = Literal["fallback", "error"]

# The surface of sessions that run policies.
POLICY: Final = "policy"


class PolicyHost(Protocol):
    """Moves the episodes of one arena forward; all calls come from one thread."""

    @property
    def arena(self) -> StateArena:
        """The memories."""

    def run(self, steps: Sequence[PolicyStep]) -> list[PolicyAnswer]:
        """Takes a step with each of some slots, all different; rows fail by themselves."""


class PolicyModel(Protocol):
    """What the engine needs of a policy, beside what it needs of any model."""

    @property
    def fingerprint(self) -> str:
        """Hash of weights, architecture, layout and precision: a state continues only under it."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of one episode's slot."""

    @property
    def guards(self) -> Mapping[str, Any]:
        """What its steps are guarded by; see `PolicyGuards`."""

    def streams(self, slots: int) -> PolicyHost:
        """Allocates all slots."""

    def try_out(self) -> None:
        """Takes one step of its own; raises where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyTask:
    """Observations of one session, oldest first.

    Args:
      key: of the session.
      seq: of the first observation, 1 or more.
      observations: [N, F], one or more.
      policy: name or identity.
      is_replay: several may come, all of them from some time ago.
      reset: a new episode begins with the first one.
      durable: at creation: each step is on disk before it is answered.
      observed_ns: wall time of the observation; None for unknown.
      max_age_ms: of the observation, if that is less than the contract's.
      deadline_ms: from the moment at which the request came; None is the contract's.
      on_deadline: None is the contract's.
      since_s: how long ago the request came.
      limit_s: how long the answer may take from now on at most.
      request_hash: of the whole request, to know it again.
    """

    key: SessionKey
    seq: int
    observations: Numbers
    policy: str
    is_replay: bool = False
    reset: bool = False
    durable: bool = False
    observed_ns: int | None = None
    max_age_ms: float | None = None
    deadline_ms: float | None = None
    on_deadline: OnDeadline | None = None
    since_s: float = 0.0
    limit_s: float | None = None
    request_hash: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """The answer to a `PolicyTask`; the same task again gives the same one.

    Args:
      actions: [N, A], finite and within the contract's bounds.
      statuses: N.
      seq: of the last observation that counts: the task's last one, or the one before the task
        where nothing of it does.
      durable_seq: of what survives the end of the process now; 0 for nothing.
      episode_step: observations of this episode.
      valid_for_ms: how long the last action may be applied without a newer one.
      state_advanced: the memory had taken in one of the observations.
      pending: it will, before the next ones.
      model: identity.
      queue_ms: waiting.
      compute_ms: in the model.
    """

    actions: Numbers
    statuses: tuple[ActionStatus, ...]
    seq: int
    durable_seq: int
    episode_step: int
    valid_for_ms: float
    state_advanced: bool
    pending: bool
    model: str
    queue_ms: float
    compute_ms: float
