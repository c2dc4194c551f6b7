"""`xlstmd` whose store kills the process at one point of a commit, once armed. Not a test.

Usage: `python -m tests.chaos.trapped_daemon POINT serve ...`; the file `armed` in the state folder
arms it.
"""

import sys

from tests.engine.store_victim import Trap
from xlstmd.cli import main
from xlstmd.engine import store_changes
from xlstmd.server import serve

ARMED = "armed"

# Larger snapshots lie in files: here some that take no seconds to make.
LARGE_BYTES = 100_000


class ArmedTrap(Trap):
    """Looks whether it is armed before each point."""

    def at(self, point):
        """Dies if this is the point and it is armed."""
        self.is_armed = (self.path / ARMED).exists()
        super().at(point)


if __name__ == "__main__":
    point = sys.argv.pop(1)
    store_changes.LARGE_BYTES = LARGE_BYTES
    serve.StoreFolder = lambda path: ArmedTrap(path, point)
    sys.exit(main())
