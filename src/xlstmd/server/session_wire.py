"""The shapes of what is said about streams and their sessions; see `wire`."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from xlstmd.server.wire import (
    BinaryArray,
    EncodedForecast,
    Id,
    ModelName,
    Number,
    SeriesForecast,
    Timing,
)

# The one way to be durable that can be asked for.
EVERY_STEP: Final = "every_step"

Seq = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
MaybeHorizon = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Rate = Annotated[float, Meta(extra_json_schema={"exclusiveMinimum": 0, "exclusiveMaximum": 1})]
Durable = Annotated[str, Meta(extra_json_schema={"enum": [EVERY_STEP]})]


class AppendRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Points for a stream, oldest first, and what is asked after them; null is a missing value.

    `seq` is 1 for the first request of a session and grows by 1; the same request again gets the
    same answer and changes nothing. Without `seq` and points it only asks. `start` and `freq`,
    `reset` and `durable` (`every_step`) belong to `seq` 1.
    """

    session: Id
    append: list[Number] | BinaryArray
    seq: Seq | None = None
    horizon: MaybeHorizon | None = None
    quantile_levels: list[float] | BinaryArray | None = None
    anomaly_rate: Rate | None = None
    model: ModelName | None = None
    start: str | None = None
    freq: str | None = None
    reset: bool = False
    durable: Durable | None = None


class ForkRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The id of the second session."""

    to: Id


class AnomalyEntry(msgspec.Struct, kw_only=True):
    """How a point fits the forecast that stood before it; null where none stood."""

    value: float
    quantile: Number
    surprise: Number
    flag: bool


class AppendAnswer(msgspec.Struct, kw_only=True):
    """What became of an append.

    `forecast` is there with a horizon, `anomaly` with a rate: one entry for each point, null for a
    missing one.
    """

    session: str
    seq: int
    durable_seq: int
    observed: int
    forecast: SeriesForecast | UnsetType = UNSET
    anomaly: list[AnomalyEntry | None] | UnsetType = UNSET
    model: str
    timing: Timing
    request_id: str


class EncodedAppendAnswer(msgspec.Struct, kw_only=True):
    """An `AppendAnswer` whose lists are encoded already."""

    session: str
    seq: int
    durable_seq: int
    observed: int
    forecast: EncodedForecast | UnsetType = UNSET
    anomaly: Raw | UnsetType = UNSET
    model: str
    timing: Timing
    request_id: str


class SessionAnswer(msgspec.Struct, kw_only=True):
    """A session; `tier` is `hot` in memory, `stored` on disk alone."""

    session: str
    surface: str
    seq: int
    durable_seq: int
    bytes: int
    model: str
    created: str
    last_used: str
    tier: str
    timing: Timing
    request_id: str


class EndAnswer(msgspec.Struct, kw_only=True):
    """A session that has ended."""

    session: str
    surface: str
    ended: bool
    model: str
    timing: Timing
    request_id: str


class StreamMetadata(msgspec.Struct, kw_only=True):
    """The first frame of a WebSocket; `policies`, with their contracts, where those are served."""

    contract: str
    surface: str
    model: str
    formats: list[str]
    limits: dict[str, float]
    policies: list[dict[str, Any]] | UnsetType = UNSET
    request_id: str
