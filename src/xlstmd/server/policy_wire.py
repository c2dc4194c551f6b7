"""The shapes of what is said about policies; see `wire`."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from xlstmd.server.session_wire import Durable, Seq
from xlstmd.server.wire import BinaryArray, Id, ModelName, Timing

ON_DEADLINE: Final = ("fallback", "error")

Milliseconds = Annotated[float, Meta(extra_json_schema={"exclusiveMinimum": 0})]

STEP_OUTCOME: Final[dict[str, Any]] = {
    "anyOf": [
        {"$ref": "#/components/schemas/PolicyStepAnswer"},
        {"$ref": "#/components/schemas/ProblemDocument"},
    ]
}

# Each step is decoded by itself, so that a fault in one costs the others nothing.
FleetStep = Annotated[
    Raw, Meta(extra_json_schema={"$ref": "#/components/schemas/PolicyStepRequest"})
]
OnDeadline = Annotated[str, Meta(extra_json_schema={"enum": list(ON_DEADLINE)})]


class PolicyStepRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An observation of an episode, or several (`observations`) to be replayed, oldest first.

    `seq` is 1 for the first observation of a session and grows by 1 with each; with several it is
    that of the first. The same request again gets the same answer and changes nothing. `reset`
    begins a new episode with the first one. `durable` (`every_step`) belongs to `seq` 1,
    `observed_at` and `max_age_ms` to one observation.
    """

    policy: ModelName
    session: Id
    seq: Seq
    observation: list[float] | BinaryArray | None = None
    observations: list[list[float]] | BinaryArray | None = None
    observed_at: str | None = None
    max_age_ms: Milliseconds | None = None
    deadline_ms: Milliseconds | None = None
    on_deadline: OnDeadline | None = None
    reset: bool = False
    durable: Durable | None = None


class PolicyStepAnswer(msgspec.Struct, kw_only=True):
    """What to do now, and how that came about.

    `action` and `status` are of the last observation, `actions` and `statuses`, where several were
    sent, of each. `state_advanced` says whether the policy had taken an observation in; `pending`
    is there for a late step, true where it will be taken in before the next ones. `seq` is that of
    the last observation that counts.
    """

    action: list[float]
    status: str
    actions: list[list[float]] | UnsetType = UNSET
    statuses: list[str] | UnsetType = UNSET
    session: str
    seq: int
    durable_seq: int
    valid_for_ms: float
    episode_step: int
    state_advanced: bool
    pending: bool | UnsetType = UNSET
    model: str
    timing: Timing
    request_id: str


class FleetRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Steps of many sessions; those of one session in their order."""

    steps: list[FleetStep]


class FleetAnswer(msgspec.Struct, kw_only=True):
    """What became of each step, in the order of the request: an answer or a problem."""

    steps: list[Annotated[Raw, Meta(extra_json_schema=STEP_OUTCOME)]]
    model: str
    timing: Timing
    request_id: str


class PoliciesAnswer(msgspec.Struct, kw_only=True):
    """The loaded policies, each with its contract."""

    policies: list[dict[str, Any]]
    model: str
    timing: Timing
    request_id: str
