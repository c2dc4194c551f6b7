"""Who may talk to the daemon from a browser, and what its pages may do."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from xlstmd.server.problems import Problem

LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

ANSWER_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)

# Methods that change nothing; a page of another origin cannot read their answers.
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class HostCheck:
    """Refuses requests by names that are not ours.

    A page of another site that points its own name at this machine (DNS rebinding) sends that
    name in `Host`; a form or script of another site sends its own in `Origin`.
    """

    def __init__(self, listening: str, allowed: Iterable[str]) -> None:
        """Collects the names.

        Args:
          listening: the address that the daemon listens on.
          allowed: further names.
        """
        own = f"[{listening}]" if ":" in listening else listening
        self._names = LOCAL_HOSTS | {own.lower()} | {name.lower() for name in allowed}

    def check(self, method: str, hosts: list[bytes], origin: bytes | None) -> None:
        """Checks a request.

        Args:
          method: of the request.
          hosts: values of all `Host` headers.
          origin: value of `Origin`.

        Raises:
          Problem: 403 `bad_origin`.
        """
        name = _host_name(hosts[0].decode("latin-1")) if len(hosts) == 1 else ""
        if name not in self._names:
            raise self._refused("Host", b", ".join(hosts).decode("latin-1") or "none")
        if origin is None or method in SAFE_METHODS:
            return
        text = origin.decode("latin-1")
        if _origin_name(text) not in self._names:
            raise self._refused("Origin", text)

    def _refused(self, header: str, got: str) -> Problem:
        expected = f"one of {', '.join(sorted(self._names))}"
        shown = got[:100]
        return Problem(
            403,
            "bad_origin",
            f"{header}: expected {expected}, got {shown} (allowed_hosts adds names)",
            field=header,
            expected=expected,
            got=shown,
        )


def _host_name(authority: str) -> str:
    name, separator, port = authority.lower().rpartition(":")
    if separator and port.isdigit() and (":" not in name or name.endswith("]")):
        return name
    return authority.lower()


def _origin_name(origin: str) -> str:
    parts = urlsplit(origin)
    return _host_name(parts.netloc) if parts.scheme in ("http", "https") else ""
