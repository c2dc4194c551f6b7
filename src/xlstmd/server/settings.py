"""The daemon's settings: one TOML file, `XLSTMD_*` variables, flags; the later one wins."""

import dataclasses
import difflib
import ipaddress
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from xlstmd.engine.settings import EngineSettings
from xlstmd.errors import ConfigError

PREFIX: Final = "XLSTMD_"
CONFIG_VARIABLE: Final = "XLSTMD_CONFIG"

# Variables with the prefix that other parts read.
FOREIGN_VARIABLES: Final = frozenset(
    {CONFIG_VARIABLE, "XLSTMD_STATE_DIR", "XLSTMD_DATA", "XLSTMD_NATIVE_LEVEL"}
)

# Where the defaults of the engine's bounds come from.
ENGINE: Final = EngineSettings()

# Names of `xlstmd.models.runtime`, which a server does not know.
RUNTIMES: Final = ("native", "torch")
PRECISIONS: Final = ("float32", "bfloat16", "int8")

# Where models run; see `docs/decisions/0005-lanes-are-processes.md`.
LANES: Final = ("process", "thread")

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a daemon that is not a model.

    Args:
      host: address to listen on; only loopback ones while there is no authentication.
      port: 0 takes a free one.
      model: name or folder of the forecaster, or the file of a TiRex; empty is the default one.
      policies: names of shipped policies, or folders of others.
      runtime: that runs the model, `native` or `torch`; empty takes the best that is there.
      precision: of dense products: `float32`, `bfloat16` or `int8`; see `docs/reference/python.md`.
      threads: that the model computes with. Small batches gain nothing from more, and several
        threads on a busy machine wait for each other.
      lanes: where models run: `process`, each in one of its own, which is replaced when it dies or
        hangs; `thread`, in the daemon itself, which takes less memory.
      allowed_hosts: further names that `Host` and `Origin` may carry, for a proxy in front.
      log_level: of the daemon's own messages and its access log.
      max_body_bytes: of a request.
      max_pending_body_bytes: of all requests that are being read or decoded.
      max_series: of a request.
      max_points: observed points of a request.
      max_horizon: points to forecast.
      max_quantile_levels: of a request.
      max_answer_numbers: series times horizon times levels, mean and median included.
      max_connections: further ones are closed at once.
      header_timeout_s: for the head of a request, from connecting or from its first byte.
      body_timeout_s: for the body of a request.
      write_timeout_s: for a client that takes nothing of its answer.
      keep_alive_s: for the next request of a connection.
      max_deadline_s: ceiling of `X-Deadline-Ms`, and what counts without that header.
      drain_timeout_s: for requests that run when the daemon is told to stop.
      max_queue_rows: see `EngineSettings`; likewise the ones below.
      max_queue_bytes: see `EngineSettings`.
      max_batch_rows: see `EngineSettings`.
      max_batch_points: see `EngineSettings`.
      lane_timeout_s: see `EngineSettings`.
      canary_interval_s: see `EngineSettings`.
      session_bytes: see `EngineSettings`.
      session_idle_s: see `EngineSettings`.
      snapshot_interval_s: see `EngineSettings`.
      max_restores: see `EngineSettings`.
    """

    host: str = "127.0.0.1"
    port: int = 8884
    model: str = ""
    policies: tuple[str, ...] = ()
    runtime: str = ""
    precision: str = "float32"
    threads: int = 1
    lanes: str = "process"
    allowed_hosts: tuple[str, ...] = ()
    log_level: str = "info"
    max_body_bytes: int = 16_000_000
    max_pending_body_bytes: int = 256_000_000
    max_series: int = 10_000
    max_points: int = 1_000_000
    max_horizon: int = 10_000
    max_quantile_levels: int = 99
    max_answer_numbers: int = 5_000_000
    max_connections: int = 1_000
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    keep_alive_s: float = 30.0
    max_deadline_s: float = 300.0
    drain_timeout_s: float = 30.0
    max_queue_rows: int = ENGINE.max_queue_rows
    max_queue_bytes: int = ENGINE.max_queue_bytes
    max_batch_rows: int = ENGINE.max_batch_rows
    max_batch_points: int = ENGINE.max_batch_points
    lane_timeout_s: float = ENGINE.lane_timeout_s
    canary_interval_s: float = ENGINE.canary_interval_s
    session_bytes: int = ENGINE.session_bytes
    session_idle_s: float = ENGINE.session_idle_s
    snapshot_interval_s: float = ENGINE.snapshot_interval_s
    max_restores: int = ENGINE.max_restores

    def __post_init__(self) -> None:
        """Refuses values that cannot work, and an address that others could reach."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and field.name != "port" and not value > 0:
                raise ConfigError(f"{field.name}: expected more than 0, got {value}")
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"port: expected 0 to 65535, got {self.port}")
        for name, known in (
            ("log_level", LOG_LEVELS),
            ("precision", PRECISIONS),
            ("runtime", ("", *RUNTIMES)),
            ("lanes", LANES),
        ):
            if getattr(self, name) not in known:
                named = ", ".join(filter(None, known))
                raise ConfigError(f"{name}: expected one of {named}, got {getattr(self, name)}")
        if not is_loopback(self.host):
            raise ConfigError(
                "host: expected a loopback address such as 127.0.0.1, because this daemon has no "
                f"authentication that could guard another one, got {self.host}"
            )
        self.engine_settings()

    def engine_settings(self) -> EngineSettings:
        """Gives the part that bounds the engine."""
        names = {field.name for field in dataclasses.fields(EngineSettings)}
        shared = {name: getattr(self, name) for name in names & set(self.names())}
        return EngineSettings(**shared)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Gives the names of all settings."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def from_sources(
        cls,
        *,
        file: Path | None = None,
        environment: Mapping[str, str] | None = None,
        flags: Mapping[str, Any] | None = None,
    ) -> Self:
        """Reads the settings.

        Args:
          file: TOML, every setting at the top level; `XLSTMD_CONFIG` names it if this is `None`.
          environment: variables; `XLSTMD_MAX_SERIES` sets `max_series`. Lists are separated by
            commas. An empty variable counts as not set.
          flags: by name; `None` counts as not given.

        Raises:
          ConfigError: an unknown name, a value of the wrong type, a file that cannot be read.
        """
        environment = environment or {}
        named = environment.get(CONFIG_VARIABLE)
        path = file or (Path(named) if named else None)
        values: dict[str, Any] = {}
        if path is not None:
            values |= cls._checked(_read(path), str(path))
        variables = {
            name.removeprefix(PREFIX).lower(): text
            for name, text in environment.items()
            if name.startswith(PREFIX) and name not in FOREIGN_VARIABLES and text
        }
        values |= cls._checked(variables, "environment", is_text=True)
        given = {name: value for name, value in (flags or {}).items() if value is not None}
        values |= cls._checked(given, "flags")
        return cls(**values)

    @classmethod
    def _checked(
        cls, values: Mapping[str, Any], source: str, *, is_text: bool = False
    ) -> dict[str, Any]:
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        checked = {}
        for name, value in values.items():
            if name not in defaults:
                shown = PREFIX + name.upper() if is_text else name
                raise ConfigError(f"{source}: unknown setting {shown}{_nearest(name, defaults)}")
            checked[name] = _convert(value, defaults[name], f"{source}: {name}", is_text=is_text)
        return checked


def is_loopback(host: str) -> bool:
    """Says whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, tuple(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}") from None


def _convert(value: Any, default: object, where: str, *, is_text: bool) -> Any:
    kind = type(default)
    try:
        if kind is tuple:
            parts = value.split(",") if is_text else value
            if isinstance(parts, str) or not all(isinstance(part, str) for part in parts):
                raise TypeError
            return tuple(part.strip() for part in parts if part.strip())
        if is_text:
            return kind(value)  # type: ignore[call-arg]
        if isinstance(value, bool) or not isinstance(value, int if kind is float else kind):
            if kind is float and isinstance(value, float):
                return value
            raise TypeError
        return kind(value)  # type: ignore[call-arg]
    except (TypeError, ValueError):
        expected = {int: "a whole number", float: "a number", str: "a text"}.get(
            kind, "a list of texts"
        )
        raise ConfigError(f"{where}: expected {expected}, got {value!r}") from None
