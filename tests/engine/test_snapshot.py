"""A session as bytes: comes back equal, and nothing else comes back as one."""

import json
import struct
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlstmd.engine.session_payload import LAYOUT, pack_arrays, unpack_arrays
from xlstmd.engine.session_record import SessionKey, SessionRecord
from xlstmd.engine.snapshot import MAGIC, decode_snapshot, encode_snapshot
from xlstmd.errors import SnapshotDamaged

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
integers = st.integers(0, 2**63 - 1)

records = st.builds(
    SessionRecord,
    key=st.builds(SessionKey, texts, texts, texts),
    model=texts,
    fingerprint=texts,
    seq=integers,
    created_ns=integers,
    used_ns=integers,
    idle_s=st.floats(0, 1e300),
    request_hash=st.binary(max_size=32),
    reply=st.binary(max_size=200),
    layout=texts,
    payload=st.binary(max_size=200),
    facts=st.dictionaries(texts, texts, max_size=3),
)

RECORD = SessionRecord(
    key=SessionKey("t", "forecast", "a"),
    model="small@1",
    fingerprint="00",
    seq=3,
    created_ns=1,
    used_ns=2,
    request_hash=b"h",
    reply=b"reply",
    layout=LAYOUT,
    payload=b"payload",
)


@given(record=records)
def test_what_is_encoded_comes_back_equal(record):
    assert decode_snapshot(encode_snapshot(record)) == record


@given(record=records, data=st.data())
def test_a_snapshot_with_any_bit_changed_is_damaged(record, data):
    snapshot = bytearray(encode_snapshot(record))
    place = data.draw(st.integers(0, len(snapshot) - 1))
    snapshot[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SnapshotDamaged):
        decode_snapshot(bytes(snapshot))


@given(record=records, data=st.data())
def test_a_part_of_a_snapshot_is_damaged(record, data):
    snapshot = encode_snapshot(record)
    cut = data.draw(st.integers(0, len(snapshot) - 1))
    for part in (snapshot[:cut], snapshot[cut + 1 :], snapshot + snapshot[: cut + 1]):
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(part)


@given(data=st.binary(max_size=300))
def test_other_bytes_are_damaged(data):
    for snapshot in (data, MAGIC + data):
        with pytest.raises(SnapshotDamaged):
            decode_snapshot(snapshot)


def forged(header, body=b"", length=None):
    """Gives a snapshot with a right checksum around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    whole = MAGIC + struct.pack("<II", 1, len(text) if length is None else length) + text + body
    return whole + blake2b(whole, digest_size=16).digest()


def fields(**other):
    header = encode_snapshot(RECORD)
    (length,) = struct.unpack_from("<I", header, 12)
    return {**json.loads(header[16 : 16 + length]), **other}


def test_a_forged_snapshot_is_read_when_it_says_what_a_session_says():
    assert decode_snapshot(forged(fields(), b"replypayload")) == RECORD


@pytest.mark.parametrize(
    "header",
    [
        b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"seq": ' + b"9" * 5000 + b"}",
        fields(seq=-1), fields(seq=2**63), fields(seq=1.0), fields(seq=True), fields(seq="1"),
        fields(tenant=None), fields(id="\ud800"), fields(request_hash="xyz"),
        fields(facts=[]), fields(facts={"a": 1}), fields(facts={"\ud800": "a"}),
        fields(idle_s=float("nan")), fields(idle_s=float("inf")), fields(idle_s=-1.0),
        fields(idle_s=10**400), fields(idle_s="1"),
        fields(reply_bytes=6), fields(reply_bytes=13, payload_bytes=0), fields(payload_bytes=2**62),
        {name: value for name, value in fields().items() if name != "layout"},
    ],
)  # fmt: skip
def test_whatever_a_forged_header_says_it_is_refused_and_nothing_worse(header):
    with pytest.raises(SnapshotDamaged):
        decode_snapshot(forged(header, b"replypayload"))


def test_a_header_longer_than_the_snapshot_is_refused():
    with pytest.raises(SnapshotDamaged, match="header"):
        decode_snapshot(forged(fields(), b"replypayload", length=2**32 - 1))


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i8", "|u1", "|b1"])
def test_arrays_come_back_bit_for_bit(dtype):
    whole = np.arange(24).reshape(2, 3, 4).astype(dtype)
    arrays = {"whole": whole, "turned": whole.T, "part": whole[:, ::2], "none": whole[:0]}
    back = unpack_arrays(pack_arrays(arrays))
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


@pytest.mark.parametrize("payload", [b"", b"x" * 7, b"\xff" * 64, pack_arrays({})[:-1]])
def test_other_bytes_are_no_arrays(payload):
    with pytest.raises(SnapshotDamaged):
        unpack_arrays(payload)
