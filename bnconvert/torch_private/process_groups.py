"""Process groups by name.

Stands in for a public way to find a group by the name that it has in every process; a name can be
copied and pickled, a group cannot. Known to work since torch 2.10.
"""

from typing import Any

from torch import distributed as dist


def process_group_named(name: str) -> Any:
    """Return the process group of a name.

    Any: torch.distributed may be missing from a build, and its classes with it.

    Raises:
        RuntimeError: there is no group of that name in this process.
    """
    registry: Any = dist.distributed_c10d
    return registry._resolve_process_group(name)
