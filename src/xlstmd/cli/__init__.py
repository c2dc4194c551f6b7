"""The command line: arguments, and how a command ends. What a command does is in its own module.

Nothing heavy is imported before a command is known, so that `--help` and `--version` are instant.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from xlstmd.cli.options import UsageError, build_parser
from xlstmd.errors import InputError, XlstmdError

DONE: Final = 0
USAGE: Final = 2
BAD_INPUT: Final = 3
COULD_NOT_RUN: Final = 4
INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
      argv: without the program's name; None takes the process's.

    Returns:
      0 done, 2 usage, 3 bad input, 4 could not run, 130 interrupted. Why is one line on stderr.
    """
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else USAGE
    try:
        import_module(f"xlstmd.cli.{arguments.module}").run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads the output has enough, for example `head`; the exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except UsageError as error:
        return _end(error, USAGE)
    except InputError as error:
        return _end(error, BAD_INPUT)
    except ImportError as error:
        return _end(f"needs a package that is not installed: {error}", COULD_NOT_RUN)
    except (XlstmdError, OSError) as error:
        return _end(error, COULD_NOT_RUN)
    return DONE


def _end(why: Exception | str, code: int) -> int:
    line = " ".join(str(why).split())
    sys.stderr.write(f"xlstmd: {line}\n")
    return code
