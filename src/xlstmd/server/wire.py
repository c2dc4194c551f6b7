"""The shapes of requests and answers on the wire; docs/reference/http.md is their contract."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

ID_PATTERN: Final = r"^[A-Za-z0-9._-]{1,128}$"
MODEL_PATTERN: Final = r"^[A-Za-z0-9._-]{1,128}(@[A-Za-z0-9._-]{1,128})?$"

# Bounds are in the schema for readers and checked after decoding, for better words.
Id = Annotated[str, Meta(extra_json_schema={"pattern": ID_PATTERN})]
ModelName = Annotated[str, Meta(extra_json_schema={"pattern": MODEL_PATTERN})]
Horizon = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
Number = float | None

# What an entry of `series` may be; it is decoded by itself, so that an error names its index.
ENTRY: Final[dict[str, Any]] = {
    "anyOf": [
        {"$ref": "#/components/schemas/SeriesInput"},
        {
            "type": "array",
            "description": "Values alone, oldest first; null is a missing value.",
            "items": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
    ]
}
Entry = Annotated[Raw, Meta(extra_json_schema=ENTRY)]


class BinaryArray(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """An array in MessagePack: raw little-endian numbers. NaN is a missing value of a series."""

    dtype: str
    shape: list[int]
    data: bytes


class SeriesInput(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One series, oldest value first; null is a missing value.

    Times are `start` and `freq`, or `timestamps`; with them the answer has the future ones.
    """

    values: list[Number] | BinaryArray
    id: Id | None = None
    start: str | None = None
    freq: str | None = None
    timestamps: list[str] | None = None
    past_covariates: dict[str, Any] | None = None
    future_covariates: dict[str, Any] | None = None


class ForecastRequest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Series to forecast.

    Without `quantile_levels` they are 0.1 to 0.9; without `model` it is the default one.
    """

    series: list[Entry] | BinaryArray
    horizon: Horizon
    quantile_levels: list[float] | BinaryArray | None = None
    model: ModelName | None = None


class Timing(msgspec.Struct, kw_only=True):
    """Where the time went, in milliseconds."""

    queue_ms: float
    compute_ms: float
    total_ms: float


class SeriesForecast(msgspec.Struct, kw_only=True):
    """The forecast of one series; every list has one number for each point of the horizon."""

    id: str | UnsetType = UNSET
    mean: list[float]
    median: list[float]
    quantiles: dict[str, list[float]]
    timestamps: list[str] | UnsetType = UNSET
    mean_method: str


class ForecastAnswer(msgspec.Struct, kw_only=True):
    """The forecasts, in the order of the series."""

    forecasts: list[SeriesForecast]
    model: str
    timing: Timing
    request_id: str


class EncodedForecast(msgspec.Struct, kw_only=True):
    """A `SeriesForecast` whose lists are encoded already."""

    id: str | UnsetType = UNSET
    mean: Raw
    median: Raw
    quantiles: dict[str, Raw]
    timestamps: Raw | UnsetType = UNSET
    mean_method: str


class EncodedAnswer(msgspec.Struct, kw_only=True):
    """A `ForecastAnswer` whose lists are encoded already."""

    forecasts: list[EncodedForecast]
    model: str
    timing: Timing
    request_id: str


class ModelsAnswer(msgspec.Struct, kw_only=True):
    """The loaded models."""

    models: list[dict[str, Any]]
    model: str
    timing: Timing
    request_id: str


class InfoAnswer(msgspec.Struct, kw_only=True):
    """What this daemon is, what it can do and what it allows."""

    name: str
    version: str
    surfaces: list[str]
    formats: list[str]
    limits: dict[str, float]
    models: list[dict[str, Any]]
    model: str
    timing: Timing
    request_id: str


class LaneHealth(msgspec.Struct, kw_only=True):
    """How one model fares."""

    model: str
    is_up: bool
    is_fresh: bool
    heartbeat_age_s: float
    canary_age_s: float
    queued_series: int


class HealthAnswer(msgspec.Struct, kw_only=True):
    """How the daemon fares; sent only while it is well."""

    status: str
    phase: str
    models: list[LaneHealth]
    model: str
    timing: Timing
    request_id: str
