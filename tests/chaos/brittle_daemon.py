"""`xlstmd` whose disk fails as a file says. Not a test.

Usage: `python -m tests.chaos.brittle_daemon FILE serve ...`; the file holds a fault of
`BrittleFolder`, or nothing.
"""

import sys
from pathlib import Path

from tests.engine.test_store_faults import BrittleFolder
from xlstmd.cli import main
from xlstmd.engine import store_changes
from xlstmd.server import serve

# Every snapshot lies in a file of its own: there Python does what the disk refuses.
LARGE_BYTES = 1_000


class ToldFolder(BrittleFolder):
    """Looks into the file before each commit."""

    def __init__(self, path, file):
        super().__init__(path)
        self._file = file

    def look(self):
        """Breaks or heals as the file says; says whether that is another state than before."""
        wanted = self._file.read_text() or None
        is_new = wanted != self.fault
        if is_new:
            self.break_with(wanted)
        return is_new

    def write_large(self, name, snapshot):
        """Looks first; a disk that breaks loses the connection there is."""
        if self.look() and self.fault is not None:
            raise OSError(5, "Input/output error", str(self.path))
        super().write_large(name, snapshot)

    def read_large(self, name):
        """Looks first."""
        self.look()
        return super().read_large(name)

    def connect(self):
        """Looks first."""
        self.look()
        return super().connect()


if __name__ == "__main__":
    told = Path(sys.argv.pop(1))
    store_changes.LARGE_BYTES = LARGE_BYTES
    serve.StoreFolder = lambda path: ToldFolder(path, told)
    sys.exit(main())
