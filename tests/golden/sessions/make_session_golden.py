"""Writes the golden snapshots from the description of their format; imports nothing of xlstmd."""

import json
import struct
from hashlib import blake2b
from pathlib import Path

FOLDER = Path(__file__).parent

FIELDS = {
    "tenant": "plant-2",
    "surface": "forecast",
    "id": "pump-7",
    "model": "small@1",
    "fingerprint": "5eed" * 16,
    "seq": 41,
    "created_ns": 1_767_225_600_000_000_000,
    "used_ns": 1_767_229_200_000_000_001,
    "idle_s": 12.5,
    "request_hash": bytes(range(16)).hex(),
    "layout": "safetensors",
    "facts": {"durable": "every_step", "freq": "h"},
}
REPLY = '{"note": "° and \u2603 take more than one byte"}'.encode()
STATE = [0.5, -1.25, 3.0, 65504.0]


def payload():
    """Gives one array of four float32 as safetensors: length of the header, header, numbers."""
    header = json.dumps({"state": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + struct.pack("<4f", *STATE)


def snapshot(number):
    """Gives a whole snapshot of that format."""
    body = payload()
    fields = {**FIELDS, "reply_bytes": len(REPLY), "payload_bytes": len(body)}
    header = json.dumps(fields, ensure_ascii=False).encode()
    start = b"xlstmd\r\n" + struct.pack("<II", number, len(header))
    whole = start + header + REPLY + body
    return whole + blake2b(whole, digest_size=16).digest()


if __name__ == "__main__":
    for number in (1, 2):
        (FOLDER / f"format_{number}.snapshot").write_bytes(snapshot(number))
