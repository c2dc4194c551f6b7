"""Log lines: text on a terminal, one JSON object a line otherwise."""

import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from xlstmd.server.description import NAME

# What every record has; the rest came with `extra`.
OWN_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# Uvicorn repeats what our own lines say; what it warns of is worth a line.
FOREIGN_LOGGER: Final = "uvicorn"


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line."""
        line = _base_fields(record) | _extra_fields(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """Writes a record for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Gives the line, and the traceback below."""
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        extra = " ".join(f"{name}={value}" for name, value in _extra_fields(record).items())
        line = f"{time} {record.levelname.lower():<7} {record.getMessage()}  {extra}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logs(level: str, stream: TextIO | None = None) -> None:
    """Sends the daemon's log lines to a stream.

    Args:
      level: one of `settings.LOG_LEVELS`.
      stream: by default stderr.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if stream.isatty() else JsonFormatter())
    own, foreign = logging.getLogger(NAME), logging.getLogger(FOREIGN_LOGGER)
    for log in (own, foreign):
        log.handlers = [handler]
        log.propagate = False
    own.setLevel(level.upper())
    foreign.setLevel(max(logging.WARNING, own.level))


def _base_fields(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {
        "time": time.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }


def _extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in OWN_FIELDS}
