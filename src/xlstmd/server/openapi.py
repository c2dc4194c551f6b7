"""The OpenAPI 3.1 document: schemas from the wire types, routes from one table."""

from typing import Any, Final

import msgspec

from xlstmd.server.description import NAME, installed_version
from xlstmd.server.forecast import FORECAST_PATH
from xlstmd.server.media import Media
from xlstmd.server.openapi_parts import (
    HEADERS,
    SCHEMAS,
    Document,
    answers,
    problem_answers,
    reference,
)
from xlstmd.server.openapi_policies import TYPES as POLICY_TYPES
from xlstmd.server.openapi_policies import policy_paths
from xlstmd.server.openapi_sessions import TYPES as SESSION_TYPES
from xlstmd.server.openapi_sessions import session_paths
from xlstmd.server.problems import ProblemDocument
from xlstmd.server.wire import (
    BinaryArray,
    ForecastAnswer,
    ForecastRequest,
    HealthAnswer,
    InfoAnswer,
    ModelsAnswer,
    SeriesInput,
)

TYPES: Final = (
    ForecastRequest,
    SeriesInput,
    ForecastAnswer,
    HealthAnswer,
    InfoAnswer,
    ModelsAnswer,
    ProblemDocument,
    *SESSION_TYPES,
    *POLICY_TYPES,
)
FORECAST_PROBLEMS: Final = (400, 403, 404, 405, 406, 408, 413, 415, 422, 500, 503, 504)

# Path, summary, schema of the answer, and whether the daemon's state may refuse it.
READING_ROUTES: Final = (
    ("/livez", "Whether the process turns over", None, False),
    ("/startupz", "Whether the models have been loaded", None, True),
    ("/readyz", "Whether requests are taken and every model can compute", None, True),
    ("/api/v1/health", "How every model fares", "HealthAnswer", True),
    ("/api/v1/xlstm/info", "What this daemon is, can do and allows", "InfoAnswer", False),
    ("/api/v1/xlstm/models", "The loaded models", "ModelsAnswer", False),
    ("/api/v1/xlstm/policies", "The loaded policies and their contracts", "PoliciesAnswer", False),
)
EXAMPLE: Final = {
    "series": [
        {
            "id": "pump-7",
            "values": [1.0, 1.2, None, 1.4, 1.3, 1.6],
            "start": "2026-01-01T00:00:00Z",
            "freq": "h",
        }
    ],
    "horizon": 3,
    "quantile_levels": [0.1, 0.5, 0.9],
}
BINARY_TEXT: Final = (
    "Requests and answers are JSON or MessagePack, by Content-Type and Accept. In MessagePack a "
    "list of numbers may also be a map of dtype (<f4, <f2, <i4 or <u1), shape and data (raw "
    "bytes), in which NaN is a missing value of a series."
)


def openapi_document() -> bytes:
    """Writes the document as JSON."""
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": NAME,
            "version": installed_version(),
            "description": "Forecasts with quantile bands, and actions of policies, from xLSTM.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {FORECAST_PATH: {"post": _forecast_operation()}}
        | policy_paths()
        | session_paths()
        | _reading_paths(),
        "components": {"schemas": _schemas()},
    }
    return msgspec.json.encode(document)


def _schemas() -> Document:
    _, schemas = msgspec.json.schema_components(TYPES, ref_template=SCHEMAS)
    del schemas[BinaryArray.__name__]
    for name, schema in schemas.items():
        schemas[name] = _without_binary(schema)
    return schemas


def _without_binary(schema: Any) -> Any:
    """Takes the binary arrays out: only MessagePack has them, and the text says so."""
    if isinstance(schema, list):
        return [_without_binary(part) for part in schema if part != reference("BinaryArray")]
    if not isinstance(schema, dict):
        return schema
    parts = {name: _without_binary(part) for name, part in schema.items()}
    variants = parts.get("anyOf", ())
    return parts.pop("anyOf")[0] | parts if len(variants) == 1 else parts


def _forecast_operation() -> Document:
    request = {"schema": reference("ForecastRequest")}
    return {
        "operationId": "forecast",
        "tags": ["forecast"],
        "summary": "Forecasts series: mean, median and quantiles",
        "description": BINARY_TEXT,
        "parameters": list(HEADERS),
        "requestBody": {
            "required": True,
            "content": {
                Media.JSON: request | {"example": EXAMPLE},
                Media.MSGPACK: request,
            },
        },
        "responses": answers("The forecasts, in the order of the series", "ForecastAnswer")
        | problem_answers(FORECAST_PROBLEMS),
    }


def _reading_paths() -> Document:
    paths: Document = {
        path: {
            "get": {
                "operationId": path.rpartition("/")[2],
                "tags": ["state"],
                "summary": summary,
                "responses": {"200": _answer(schema)}
                | problem_answers((503,) if may_refuse else ()),
            }
        }
        for path, summary, schema, may_refuse in READING_ROUTES
    }
    paths["/metrics"] = {
        "get": {
            "operationId": "metrics",
            "tags": ["state"],
            "summary": "All metrics in the text format of Prometheus",
            "responses": {
                "200": {
                    "description": "Metrics",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                }
            },
        }
    }
    return paths


def _answer(name: str | None) -> Document:
    status = {"type": "object", "properties": {"status": {"type": "string"}}}
    schema = status if name is None else reference(name)
    return {"description": "Yes", "content": {Media.JSON: {"schema": schema}}}
