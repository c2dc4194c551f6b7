"""From the bytes of a body to wire types; every fault becomes a problem with its field."""

import difflib
import re
from typing import Any, Final, TypeVar

import msgspec

from xlstmd.errors import InputError
from xlstmd.server.media import Media
from xlstmd.server.policy_wire import FleetRequest, PolicyStepRequest
from xlstmd.server.problems import Problem
from xlstmd.server.session_wire import AppendRequest, ForkRequest
from xlstmd.server.wire import BinaryArray, ForecastRequest, Number, SeriesInput

T = TypeVar("T")

BODY: Final = "body"
SHOWN: Final = 60
OWN_PATH: Final = "$"

# Messages of msgspec, and what clients are told instead of its type names.
PLACE: Final = re.compile(r"^(?P<text>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
BAD_TYPE: Final = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
LAST_INDEX: Final = re.compile(r"\[(\d+)\]$")
ENTRY: Final = re.compile(r"series\[\d+\]")
WORDS: Final = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
    "bytes": "bytes",
}

DECODERS: Final[dict[tuple[Media, Any], Any]] = {
    (media, kind): make(kind)
    for media, make in (
        (Media.JSON, msgspec.json.Decoder),
        (Media.MSGPACK, msgspec.msgpack.Decoder),
    )
    for kind in (
        ForecastRequest,
        SeriesInput,
        list[Number],
        BinaryArray,
        AppendRequest,
        ForkRequest,
        PolicyStepRequest,
        FleetRequest,
    )
}


def decode_request(body: bytes, media: Media) -> ForecastRequest:
    """Decodes the body of a forecast request; its series are still encoded.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
    """
    request = decode(body, media, ForecastRequest, path="")
    if media is Media.JSON:
        _refuse_binary(request.series, "series")
        _refuse_binary(request.quantile_levels, "quantile_levels")
    return request


def decode_append(body: bytes, media: Media) -> AppendRequest:
    """Decodes points for a stream.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
    """
    request = decode(body, media, AppendRequest, path="")
    if media is Media.JSON:
        _refuse_binary(request.append, "append")
        _refuse_binary(request.quantile_levels, "quantile_levels")
    return request


def decode_policy_step(body: bytes, media: Media) -> PolicyStepRequest:
    """Decodes observations of an episode.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
    """
    request = decode(body, media, PolicyStepRequest, path="")
    if media is Media.JSON:
        _refuse_binary(request.observation, "observation")
        _refuse_binary(request.observations, "observations")
    return request


def decode_series(raw: msgspec.Raw, media: Media, *, path: str) -> SeriesInput:
    """Decodes one entry of `series`.

    Args:
      raw: an object, a list of numbers and nulls, or in MessagePack a binary array.
      media: its format.
      path: of the entry, for example `series[3]`.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
    """
    data = memoryview(raw)
    kind = _kind(data[0], media)
    if kind == "list":
        return SeriesInput(values=decode(data, media, list[Number], path=f"{path}.values"))
    if kind != "object":
        raise InputError(path, "an object or a list of numbers and nulls", kind, code="bad_type")
    try:
        series = decode(data, media, SeriesInput, path=path)
    except InputError:
        if media is Media.JSON or not _is_binary(data):
            raise
        return SeriesInput(values=decode(data, media, BinaryArray, path=path))
    if media is Media.JSON:
        _refuse_binary(series.values, f"{path}.values")
    return series


def decode(data: bytes | memoryview, media: Media, kind: type[T], *, path: str) -> T:
    """Decodes one value.

    Args:
      data: the value's bytes.
      media: their format.
      kind: one of the types that have a decoder.
      path: of the value in the body; empty for the body itself.

    Raises:
      Problem: 400 `malformed`.
      InputError: 422, with the field.
    """
    try:
        decoded: T = DECODERS[media, kind].decode(data)
        return decoded
    except msgspec.ValidationError as error:
        raise refusal(str(error), kind, path=path) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(media, str(error)) from None
    except RecursionError:
        raise _malformed(media, "lists or objects nested too deep") from None


def refusal(message: str, kind: Any, *, path: str) -> InputError:
    """Translates a message of the decoder.

    Args:
      message: for example ``Expected `int`, got `str` - at `$.horizon` ``.
      kind: the type that was decoded.
      path: of the value in the body.
    """
    match = PLACE.match(message)
    text, inner = (match["text"], match["path"] or OWN_PATH) if match else (message, OWN_PATH)
    if inner == "key":
        return InputError(path or BODY, "names that are texts", "another key", code="bad_type")
    field = (path + inner.removeprefix(OWN_PATH)).removeprefix(".")
    if unknown := UNKNOWN.fullmatch(text):
        known = kind.__struct_fields__ if inner == OWN_PATH else BinaryArray.__struct_fields__
        return _unknown(field, unknown[1], known)
    if missing := MISSING.fullmatch(text):
        return InputError(_join(field, missing[1]), "a value", "none", code="missing_field")
    field, place = _split_position(field or BODY)
    if text == "Number out of range":
        is_series = field.endswith(("values", "append"))
        expected = "finite numbers or null" if is_series else "a finite number"
        return InputError(field, expected, f"a number beyond float64{place}", code="non_finite")
    if bad := BAD_TYPE.fullmatch(text):
        expected, got = (_in_words(part) for part in bad.groups())
        return InputError(field, expected, got + place, code="bad_type")
    return InputError(field, "a valid value", text[:SHOWN] + place, code="bad_type")


def _kind(first: int, media: Media) -> str:
    if media is Media.JSON:
        names = {ord("["): "list", ord("{"): "object", ord('"'): "a text", ord("n"): "null"}
        names |= {ord("t"): "true or false", ord("f"): "true or false"}
        return names.get(first, "a number")
    if 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        return "list"
    if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
        return "object"
    return "another value"


def _is_binary(data: memoryview) -> bool:
    try:
        return "dtype" in msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _refuse_binary(value: object, field: str) -> None:
    if isinstance(value, BinaryArray):
        raise InputError(field, "a list", "an object", code="bad_type")


def _malformed(media: Media, reason: str) -> Problem:
    expected = "one JSON value in UTF-8" if media is Media.JSON else "one MessagePack value"
    got = reason.removeprefix("JSON is malformed: ").removeprefix("MessagePack data is malformed: ")
    detail = f"{BODY}: expected {expected}, got {got}"
    return Problem(400, "malformed", detail, field=BODY, expected=expected, got=got)


def _unknown(field: str, name: str, known: tuple[str, ...]) -> InputError:
    shown = repr(name[:SHOWN])
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    expected = f"only {', '.join(known)}"
    safe = name[:SHOWN] if name.isprintable() else shown
    return InputError(_join(field, safe), expected, shown + hint, code="unknown_field")


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name


def _split_position(field: str) -> tuple[str, str]:
    """Takes the index of a number out of a path: the field is the list."""
    match = LAST_INDEX.search(field)
    if match is None or (
        field.startswith("series[") and field.count("[") == 1 and "." not in field
    ):
        return field, ""
    return field[: match.start()], f" at position {match[1]}"


def _in_words(names: str) -> str:
    return " or ".join(WORDS.get(name, name) for name in names.split(" | "))
