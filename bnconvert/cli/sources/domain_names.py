"""--domains: which domain each sample of the data is of."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnconvert.cli.user_code import describe_failure, load_object
from bnconvert.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Callable

#: The value that makes the folders of an imagefolder the domains.
FOLDERS = "folders"

DomainsOption = Annotated[
    str | None,
    typer.Option(
        "--domains",
        metavar="WHERE",
        help="The domain of each sample, to say where domains differ: the name of an array of "
        "npz:FILE (numbers or strings); 'folders', where each folder of imagefolder:DIR is a "
        "domain and not a class; or file.py:function that takes a batch and returns a name, or one "
        "for each sample.",
    ),
]


def domain_function(source: str) -> "Callable[[Any], Any]":
    """Return the user's function of a batch.

    Raises:
        LoadError: there is none. The function raises it too, where it fails.
    """
    if ":" not in source:
        raise LoadError(
            f"--domains {source}: the data have no such names; give file.py:function of a batch, "
            f"or npz:FILE with an array {source}, or imagefolder:DIR with --domains {FOLDERS}"
        )
    function = load_object(source)
    if not callable(function):
        raise LoadError(f"--domains {source}: is not a function; name one that takes a batch")

    def named(batch: Any) -> Any:
        try:
            return function(batch)
        except (Exception, SystemExit) as failure:
            raise LoadError(
                f"--domains {source}: {describe_failure(failure)}; return a name for the batch, or "
                "one for each sample"
            ) from failure

    return named
