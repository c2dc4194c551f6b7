"""`python -m xlstmd` is the command line."""

import sys

from xlstmd.cli import main

if __name__ == "__main__":
    sys.exit(main())
