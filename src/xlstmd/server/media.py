"""Which format a request has, and which one its answer shall have."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from xlstmd.server.problems import Problem


class Media(StrEnum):
    """The formats of bodies."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


NAMES: Final = {
    "application/json": Media.JSON,
    "application/msgpack": Media.MSGPACK,
    "application/x-msgpack": Media.MSGPACK,
    "application/vnd.msgpack": Media.MSGPACK,
}
FORMATS: Final = " or ".join(Media)


def request_media(headers: Mapping[str, str]) -> Media:
    """Gives the format of a request's body.

    Raises:
      Problem: 415 `unsupported_media`.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise _unsupported("Content-Encoding", "identity", encoding)
    text = headers.get("content-type", "")
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    media = NAMES.get(name)
    if media is None:
        raise _unsupported("Content-Type", FORMATS, text or "none")
    for parameter in parameters:
        if parameter.startswith("charset=") and parameter[8:].strip('"') not in ("utf-8", "utf8"):
            raise _unsupported("Content-Type", "charset utf-8", text)
    return media


def answer_media(accept: str, request: Media) -> Media:
    """Chooses the format of the answer.

    Args:
      accept: value of `Accept`; none means anything.
      request: format of the request, taken where the client does not mind.

    Raises:
      Problem: 406 `not_acceptable`.
    """
    if not accept.strip():
        return request
    weights = dict.fromkeys(Media, 0.0)
    ranks = dict.fromkeys(Media, -1)
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = _weight(parameters)
        named = NAMES.get(name)
        for media in Media:
            rank = {"*/*": 0, "application/*": 1}.get(name, 2 if named is media else -1)
            if rank > ranks[media]:
                ranks[media], weights[media] = rank, weight
    other = Media.MSGPACK if request is Media.JSON else Media.JSON
    best = request if weights[request] >= weights[other] else other
    if weights[best] <= 0.0:
        detail = f"Accept: expected {FORMATS}, got {accept[:100]}"
        raise Problem(
            406, "not_acceptable", detail, field="Accept", expected=FORMATS, got=accept[:100]
        )
    return best


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return min(max(float(parameter[2:]), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _unsupported(header: str, expected: str, got: str) -> Problem:
    shown = got[:100]
    detail = f"{header}: expected {expected}, got {shown}"
    return Problem(415, "unsupported_media", detail, field=header, expected=expected, got=shown)
