"""The command `bnconvert`: runs a command, and turns errors into messages and exit codes."""

import sys
from collections.abc import Sequence

from bnconvert.cli import app
from bnconvert.errors import (
    BnconvertError,
    InconclusiveError,
    PolicyError,
    RefusedError,
    VerificationError,
)

USAGE, NUMBERS_DISAGREE, NOT_LOADED, INCONCLUSIVE = 2, 3, 4, 5


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


def _exit_code(error: BnconvertError) -> int:
    if isinstance(error, VerificationError):
        return NUMBERS_DISAGREE
    if isinstance(error, InconclusiveError):
        return INCONCLUSIVE
    return USAGE if isinstance(error, PolicyError | RefusedError) else NOT_LOADED


if __name__ == "__main__":
    main()
