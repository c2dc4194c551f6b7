"""Pieces that several parts of the OpenAPI document use."""

from collections.abc import Iterable
from typing import Any, Final

from xlstmd.server.media import Media
from xlstmd.server.problems import MEDIA_TYPE, TITLES

Document = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/{name}"
HEADERS: Final = tuple(
    {"name": name, "in": "header", "description": text, "schema": schema}
    for name, text, schema in (
        ("X-Request-Id", "Name of the request in the answer and in the log.", {"type": "string"}),
        (
            "X-Deadline-Ms",
            "How long the answer may take, in milliseconds; later it is 504.",
            {"type": "number"},
        ),
        ("traceparent", "W3C trace context; its trace id goes to the log.", {"type": "string"}),
    )
)


def reference(name: str) -> Document:
    """Points to a schema."""
    return {"$ref": SCHEMAS.format(name=name)}


def answers(description: str, name: str) -> Document:
    """Describes success, in both formats."""
    answer = {"schema": reference(name)}
    content = {Media.JSON: answer, Media.MSGPACK: answer}
    return {"200": {"description": description, "content": content}}


def problem_answers(statuses: Iterable[int]) -> Document:
    """Describes problems."""
    content = {MEDIA_TYPE: {"schema": reference("ProblemDocument")}}
    problems: Document = {}
    for status in statuses:
        problems[str(status)] = {"description": TITLES[status], "content": content}
        if status == 503:
            problems[str(status)]["headers"] = {
                "Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}
            }
    return problems
