"""The command `bnconvert`: runs a command, and turns errors into messages and exit codes."""

import errno
import os
import sys
from collections.abc import Sequence

from bnconvert.cli import app
from bnconvert.errors import (
    BnconvertError,
    InconclusiveError,
    PolicyError,
    RefusedError,
    UsageError,
    VerificationError,
    first_line,
)

USAGE, NUMBERS_DISAGREE, NOT_LOADED, INCONCLUSIVE = 2, 3, 4, 5
_TRACEBACK = "BNCONVERT_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 fine; 1 findings at or above --fail-on; 2 usage, or a refused policy;
    3 numbers disagree; 4 could not load, trace or export; 5 cannot be judged.
    """
    try:
        app(args=list(arguments) if arguments is not None else None)
    except BnconvertError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(_exit_code(error))
    except OSError as failure:
        print(f"error: {_words(failure)}", file=sys.stderr)
        sys.exit(NOT_LOADED)
    except Exception as failure:
        if os.environ.get(_TRACEBACK):
            raise
        print(
            f"error: {first_line(failure)}; this is a fault of bnconvert: please report it, with "
            f"what the same command prints where {_TRACEBACK}=1 is set",
            file=sys.stderr,
        )
        sys.exit(NOT_LOADED)


def _words(failure: OSError) -> str:
    """Return what the system refused, and what to do about it."""
    said = f"{failure.filename or 'a file'}: {failure.strerror or failure}"
    if failure.errno == errno.ENOSPC:
        return f"{said}; free some space, or choose another place"
    if isinstance(failure, PermissionError):
        return f"{said}; choose another place, or ask for the permission"
    return f"{said}; give another path"


def _exit_code(error: BnconvertError) -> int:
    if isinstance(error, VerificationError):
        return NUMBERS_DISAGREE
    if isinstance(error, InconclusiveError):
        return INCONCLUSIVE
    usage = isinstance(error, PolicyError | RefusedError | UsageError)
    return USAGE if usage else NOT_LOADED


if __name__ == "__main__":
    main()
