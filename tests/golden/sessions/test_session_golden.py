"""Snapshots that lie on somebody's disk: read, or refused in plain words."""

from pathlib import Path

import numpy as np
import pytest

from tests.golden.sessions import make_session_golden as golden
from xlstmd.engine.session_payload import LAYOUT, unpack_arrays
from xlstmd.engine.session_record import SessionKey
from xlstmd.engine.snapshot import FORMAT, decode_snapshot, encode_snapshot
from xlstmd.errors import SessionExpired

FOLDER = Path(__file__).parent


def stored(number):
    return (FOLDER / f"format_{number}.snapshot").read_bytes()


@pytest.mark.parametrize("number", [1, 2])
def test_the_files_are_what_their_maker_writes(number):
    assert stored(number) == golden.snapshot(number)


def test_format_1_is_read():
    record = decode_snapshot(stored(1))
    assert record.key == SessionKey("plant-2", "forecast", "pump-7")
    for name in ("model", "fingerprint", "seq", "created_ns", "used_ns", "idle_s", "facts"):
        assert getattr(record, name) == golden.FIELDS[name], name
    assert record.request_hash == bytes(range(16))
    assert record.reply == golden.REPLY
    assert record.layout == LAYOUT
    arrays = unpack_arrays(record.payload)
    assert list(arrays) == ["state"]
    np.testing.assert_array_equal(arrays["state"], np.array(golden.STATE, dtype="<f4"))


def test_what_is_written_now_is_read_as_the_same():
    assert FORMAT == 1
    record = decode_snapshot(stored(1))
    assert decode_snapshot(encode_snapshot(record)) == record


def test_a_newer_format_is_refused_as_another_model():
    with pytest.raises(SessionExpired, match="expected format 1, got format 2") as caught:
        decode_snapshot(stored(2))
    assert caught.value.reason == "model_changed"
