"""`xlstmd` whose wall clock is off by what a file says at each look. Not a test.

Usage: `python -m tests.chaos.shifted_daemon FILE serve ...`; the file holds seconds. The monotonic
clock is the machine's, as it is when somebody sets the time of a machine.
"""

import sys
import time
from pathlib import Path

NS_PER_S = 1_000_000_000


def shift(path):
    """Puts clocks that are off in the place of those of the module `time`."""
    true_ns = time.time_ns

    def time_ns():
        return true_ns() + round(float(path.read_text()) * NS_PER_S)

    time.time_ns = time_ns
    time.time = lambda: time_ns() / NS_PER_S


if __name__ == "__main__":
    shift(Path(sys.argv.pop(1)))
    from xlstmd.cli import main

    sys.exit(main())
