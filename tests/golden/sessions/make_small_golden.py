"""Writes the golden snapshot of a real session, as a daemon with the shipped model exports it.

python -m tests.golden.sessions.make_small_golden
"""

import tempfile
from pathlib import Path

from tests.chaos.daemon import Daemon
from tests.chaos.reference import SESSIONS, post

GOLDEN = Path(__file__).parent / "small_format_1.snapshot"
NAME = "pump-7"


def bodies():
    """Gives the steps that the session has taken: points that any language computes alike."""
    points = [None if n % 29 == 28 else (n * n % 101) / 8.0 for n in range(300)]
    return [
        {"session": NAME, "seq": 1, "append": points[:100], "start": "2026-01-01", "freq": "h"},
        {"session": NAME, "seq": 2, "append": points[100:260]},
        {"session": NAME, "seq": 3, "append": points[260:], "anomaly_rate": 0.05},
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(folder)
        daemon.start()
        with daemon.client() as client:
            for body in bodies():
                assert post(client, daemon, body).status_code == 200
            GOLDEN.write_bytes(client.post(f"{SESSIONS}/{NAME}/export").content)
        daemon.stop()
