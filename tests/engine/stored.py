"""Sessions for tests of the store, whose bytes follow from their name and number."""

from hashlib import shake_128

from xlstmd.engine.session_record import SessionKey, SessionRecord

SMALL = 3_000
LARGE = 1_200_000


def key(name, surface="forecast", tenant="t"):
    """Gives the key of a test session."""
    return SessionKey(tenant, surface, name)


def record(name, seq, *, size=SMALL, created_ns=1, idle_s=0.0, **parts):
    """Gives a session as of its `seq`: no two have the same payload."""
    return SessionRecord(
        key=key(name, **parts),
        model="small@1",
        fingerprint="ab" * 32,
        seq=seq,
        created_ns=created_ns,
        used_ns=created_ns + seq,
        idle_s=idle_s,
        request_hash=f"{seq}".encode(),
        reply=f"reply {seq} to {name}".encode(),
        layout="test",
        payload=shake_128(f"{name} {created_ns} {seq}".encode()).digest(size),
        facts={"freq": "h"},
    )
