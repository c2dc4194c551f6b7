"""Every error this package raises on purpose.

XlstmdError
├─ ConfigError(ValueError)      a configuration is unknown, missing or inconsistent
├─ InputError(ValueError)       the caller's data cannot be used      .field .expected .got .code
│  ├─ ShapeError                arrays disagree in shape
│  ├─ LimitError                valid, but larger than this server allows
│  └─ SnapshotDamaged           bytes that are no whole snapshot of a session
├─ CheckpointError              a file is absent, damaged or of another format
├─ BackendUnavailable           no implementation fits; carries each refusal    .refusals
├─ ModelNotFound                no model of that name is loaded                 .name .known
├─ Overloaded                   try later                                       .retry_after_s
├─ DeadlineExceeded             the answer would come too late
├─ ModelFailed                  the model raised, or gave non-finite numbers    .field
├─ LaneDown                     the worker of this model died or hangs  .retry_after_s .had_it
├─ SessionUnknown               there is no such session
├─ SessionExpired               the session is gone, and it is known why        .reason
├─ SessionConflict              the request does not fit the session as it is
│  ├─ SeqConflict               not the next request of the session     .expected .durable_seq
│  ├─ SeqReused                 another request had this number
│  └─ ModelConflict             the session runs another model
├─ StoreFailed                  the store of sessions cannot be read or opened
│  └─ StoreFull                 it takes no writes now; nothing was written
└─ EngineStopped                the engine is draining or has stopped           .retry_after_s

A class exists only where somebody handles it differently.
"""

from collections.abc import Mapping, Sequence


class XlstmdError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(XlstmdError, ValueError):
    """A configuration is unknown, missing or inconsistent."""


class InputError(XlstmdError, ValueError):
    """The caller's data cannot be used; says which field, what was expected and what came."""

    def __init__(self, field: str, expected: str, got: str, *, code: str = "out_of_range") -> None:
        """Keeps the parts of the message, so that a server can send them as fields.

        Args:
          field: path of the offending value, for example `series[3].values`.
          expected: what would have been accepted.
          got: what came, shortened by the caller.
          code: stable machine-readable word of the wire contract.
        """
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.field = field
        self.expected = expected
        self.got = got
        self.code = code


class ShapeError(InputError):
    """Arrays disagree in shape."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        """Sets the code to `bad_shape`."""
        super().__init__(field, expected, got, code="bad_shape")


class LimitError(InputError):
    """The request is valid, but larger than this server allows."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        """Sets the code to `too_many_items`."""
        super().__init__(field, expected, got, code="too_many_items")


class SnapshotDamaged(InputError):
    """Bytes are no whole snapshot of a session."""

    def __init__(self, expected: str, got: str) -> None:
        """Sets the field to `snapshot` and the code to `undecodable`."""
        super().__init__("snapshot", expected, got, code="undecodable")


class CheckpointError(XlstmdError):
    """A checkpoint file is absent, damaged or of another format."""


class BackendUnavailable(XlstmdError):
    """No implementation of an operation fits the problem."""

    def __init__(self, message: str, refusals: Mapping[str, str]) -> None:
        """Keeps every refusal.

        Args:
          message: one sentence for people.
          refusals: implementation name to its reason.
        """
        super().__init__(message)
        self.refusals = dict(refusals)


class ModelNotFound(XlstmdError):
    """No model of that name is loaded."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        """Keeps the asked name and the known ones."""
        super().__init__(f"model: expected one of {', '.join(sorted(known))}, got {name}")
        self.name = name
        self.known = tuple(known)


class Overloaded(XlstmdError):
    """The queue is full; the same request may succeed later."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """Keeps how long to wait before the next try."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(XlstmdError):
    """The answer would come, or came, after the caller's deadline."""


class ModelFailed(XlstmdError):
    """The model raised on a series, or its forecast is not finite; the input was acceptable."""

    def __init__(self, field: str, expected: str, got: str) -> None:
        """Keeps which series it was.

        Args:
          field: path of the series, for example `series[3].values`.
          expected: what the model owes.
          got: what came instead.
        """
        super().__init__(f"{field}: expected {expected}, got {got}")
        self.field = field


class LaneDown(XlstmdError):
    """The worker that runs this model died or hangs."""

    def __init__(self, message: str, *, retry_after_s: float, had_it: bool = False) -> None:
        """Keeps what the caller needs to go on.

        Args:
          message: one sentence for people.
          retry_after_s: how long to wait before the next try.
          had_it: whether the worker ended over this very order.
        """
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.had_it = had_it


class SessionUnknown(XlstmdError):
    """There is no such session."""


class SessionConflict(XlstmdError):
    """The request does not fit the session as it is; nothing was done."""


class SeqConflict(SessionConflict):
    """The number is not that of the session's next request."""

    def __init__(self, got: int, expected: int, durable_seq: int) -> None:
        """Keeps what the caller needs to go on.

        Args:
          got: the number that came.
          expected: of the next request.
          durable_seq: of what survives the end of the process.
        """
        super().__init__(f"seq: expected {expected}, got {got}")
        self.expected = expected
        self.durable_seq = durable_seq


class SeqReused(SessionConflict):
    """Another request of this session had the same number."""


class ModelConflict(SessionConflict):
    """The session runs another model."""


class SessionExpired(XlstmdError):
    """The session is gone for a known reason; a reset starts it anew."""

    def __init__(self, message: str, *, reason: str) -> None:
        """Keeps why.

        Args:
          message: one sentence for people.
          reason: `idle`, `evicted`, `ended` or `model_changed`.
        """
        super().__init__(message)
        self.reason = reason


class StoreFailed(XlstmdError):
    """The store of sessions cannot be opened or read."""


class StoreFull(StoreFailed):
    """The store takes no writes now: disk full, read-only or failing. Nothing was written."""


class EngineStopped(XlstmdError):
    """The engine is draining or has stopped; another instance may answer."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        """Keeps how long to wait before the next try."""
        super().__init__(message)
        self.retry_after_s = retry_after_s
