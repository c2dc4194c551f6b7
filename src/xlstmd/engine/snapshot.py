"""A session as bytes: what the store keeps, and what is exported and imported.

Integers are little-endian, text is UTF-8:

| bytes | what |
|---|---|
| 8 | `MAGIC` |
| 4 | format, see `FORMAT` |
| 4 | length of the header |
| | header: a JSON object with the fields of `SessionRecord` and the lengths of the next two |
| | reply |
| | payload |
| 16 | BLAKE2b of everything above |

Every format begins and ends like this, so that a damaged number of format is known from another
format. The hash finds accidents, not forgery: whoever takes snapshots from others checks whose
session it is and which model's, and the header is read as data that anybody may have written.
"""

import json
import math
import struct
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from xlstmd.engine.session_record import Ending, SessionKey, SessionRecord
from xlstmd.errors import SessionExpired, SnapshotDamaged

MAGIC: Final = b"xlstmd\r\n"
FORMAT: Final = 1

_START: Final = struct.Struct("<8sII")
_HASH_BYTES: Final = 16
_INTEGER_END: Final = 2**63

_TEXTS: Final = ("tenant", "surface", "id", "model", "fingerprint", "request_hash", "layout")
_INTEGERS: Final = ("seq", "created_ns", "used_ns", "reply_bytes", "payload_bytes")


def encode_snapshot(record: SessionRecord) -> bytes:
    """Writes a session."""
    key = record.key
    header = json.dumps(
        {
            "tenant": key.tenant,
            "surface": key.surface,
            "id": key.id,
            "model": record.model,
            "fingerprint": record.fingerprint,
            "seq": record.seq,
            "created_ns": record.created_ns,
            "used_ns": record.used_ns,
            "idle_s": record.idle_s,
            "request_hash": record.request_hash.hex(),
            "layout": record.layout,
            "facts": dict(record.facts),
            "reply_bytes": len(record.reply),
            "payload_bytes": len(record.payload),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    start = _START.pack(MAGIC, FORMAT, len(header))
    whole = b"".join((start, header, record.reply, record.payload))
    return whole + _hash(whole)


def decode_snapshot(snapshot: bytes) -> SessionRecord:
    """Reads a session.

    Raises:
      SnapshotDamaged: the bytes are no snapshot, or not a whole one.
      SessionExpired: it is whole, but of a format that this version does not read; the reason is
        `model_changed`.
    """
    header, body = _open(snapshot)
    facts = _read_header(header)
    first, second = facts["reply_bytes"], facts["payload_bytes"]
    if first + second != len(body):
        raise SnapshotDamaged(f"{first} + {second} bytes of reply and payload", f"{len(body)}")
    return SessionRecord(
        key=SessionKey(facts["tenant"], facts["surface"], facts["id"]),
        model=facts["model"],
        fingerprint=facts["fingerprint"],
        seq=facts["seq"],
        created_ns=facts["created_ns"],
        used_ns=facts["used_ns"],
        idle_s=float(facts["idle_s"]),
        request_hash=bytes.fromhex(facts["request_hash"]),
        reply=bytes(body[:first]),
        layout=facts["layout"],
        payload=bytes(body[first:]),
        facts=facts["facts"],
    )


def _hash(whole: bytes | memoryview) -> bytes:
    return blake2b(whole, digest_size=_HASH_BYTES).digest()


def _open(snapshot: bytes) -> tuple[bytes, memoryview]:
    """Checks what all formats share; gives the header, and reply and payload together."""
    if len(snapshot) < _START.size + _HASH_BYTES or not snapshot.startswith(MAGIC):
        raise SnapshotDamaged("a snapshot of a session", f"{len(snapshot)} other bytes")
    view = memoryview(snapshot)
    whole, end = view[:-_HASH_BYTES], view[-_HASH_BYTES:]
    if _hash(whole) != end:
        raise SnapshotDamaged("the checksum of what was written", "another one")
    _, number, length = _START.unpack_from(snapshot)
    if number != FORMAT:
        raise SessionExpired(
            f"snapshot: expected format {FORMAT}, got format {number}, written by another version",
            reason=Ending.MODEL_CHANGED,
        )
    body = _START.size + length
    if body > len(whole):
        raise SnapshotDamaged(f"a header of {length} bytes", f"{len(whole)} bytes in all")
    return bytes(whole[_START.size : body]), whole[body:]


def _read_header(header: bytes) -> Mapping[str, Any]:
    try:
        facts = json.loads(header)
        if not isinstance(facts, dict):
            raise ValueError(f"a {type(facts).__name__}")
        _check_header(facts)
    except (ValueError, OverflowError, RecursionError) as error:
        raise SnapshotDamaged("a header with the fields of a session", str(error)) from None
    return facts


def _check_header(facts: Mapping[str, Any]) -> None:
    choices = facts.get("facts")
    if not isinstance(choices, dict):
        raise ValueError("facts")
    for text in (*(facts.get(name) for name in _TEXTS), *choices, *choices.values()):
        if not isinstance(text, str):
            raise ValueError(f"a text that is a {type(text).__name__}")
        # A lone surrogate is no text that a store or an answer could take.
        text.encode()
    bytes.fromhex(facts["request_hash"])
    for name in _INTEGERS:
        number = facts.get(name)
        if type(number) is not int or not 0 <= number < _INTEGER_END:
            raise ValueError(name)
    idle = facts.get("idle_s")
    if not isinstance(idle, int | float) or not math.isfinite(idle) or idle < 0:
        raise ValueError("idle_s")
