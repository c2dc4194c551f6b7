"""Errors as something that can be told to another process, and back."""

import builtins
import traceback
from typing import Any, Final

from xlstmd import errors
from xlstmd.errors import XlstmdError

MOST_CHARACTERS: Final = 4000

_PLAIN: Final = (str, int, float, list, tuple, dict)

# Those that are not made of a message, or may not reach an event loop.
_WITH_ARGUMENTS: Final = (
    ExceptionGroup,
    StopAsyncIteration,
    StopIteration,
    UnicodeDecodeError,
    UnicodeEncodeError,
    UnicodeTranslateError,
)


def error_record(error: BaseException) -> dict[str, Any]:
    """Gives what JSON can hold of an error."""
    is_ours = isinstance(error, XlstmdError)
    return {
        "kind": type(error).__name__,
        "message": str(error)[:MOST_CHARACTERS],
        "fields": _plain(error.__dict__) if is_ours else {},
        "trace": "" if is_ours else "".join(traceback.format_exception(error))[-MOST_CHARACTERS:],
    }


def error_of(record: dict[str, Any]) -> Exception:
    """Makes the error again: of its class, if that is one of this package or of Python."""
    kind, message = record["kind"], record["message"]
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, XlstmdError):
        # Past constructors, whose arguments are not those that were kept.
        ours = found.__new__(found)
        ours.args = (message,)
        ours.__dict__.update(record["fields"])
        return ours
    found = getattr(builtins, kind, None)
    error: Exception
    if isinstance(found, type) and issubclass(found, Exception) and found not in _WITH_ARGUMENTS:
        error = found(message)
    else:
        error = RuntimeError(f"{kind}: {message}")
    if record["trace"]:
        error.add_note(record["trace"])
    return error


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if isinstance(value, _PLAIN)}
