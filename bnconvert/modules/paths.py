"""Dotted paths of modules and their tensors."""

from collections.abc import Iterator


def holders(path: str) -> Iterator[str]:
    """Yield the path of each module that holds what is at a path, outwards; the root's is "".

    Args:
        path: of a module or a tensor inside the root.
    """
    while path:
        path = path.rpartition(".")[0]
        yield path
