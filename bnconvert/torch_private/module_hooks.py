"""The forward hooks of a module: which there are, to remove some, to hand them on.

Stands in for public ways to list hooks and to share them between modules; torch removes a hook
only by the handle that its registration returned. Known to work since torch 2.10.
"""

from collections.abc import Callable

from torch import nn

_TABLES = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)


def forward_pre_hooks(module: nn.Module) -> tuple[object, ...]:
    """Return what is called before the forward of a module, in order."""
    return tuple(module._forward_pre_hooks.values())


def remove_forward_hooks(module: nn.Module, are_removed: Callable[[object], bool]) -> None:
    """Remove what is called before and after the forward of a module, where the predicate holds."""
    for hooks in (module._forward_pre_hooks, module._forward_hooks):
        for key in [key for key, hook in hooks.items() if are_removed(hook)]:
            for table in _TABLES:
                vars(module)[table].pop(key, None)


def share_forward_hooks(source: nn.Module, target: nn.Module) -> None:
    """Let a module call the forward hooks of another; their handles remove them from both."""
    vars(target).update({table: vars(source)[table] for table in _TABLES})


def drop_hooks(module: nn.Module) -> None:
    """Leave a module without hooks of any kind; modules that share its hooks keep theirs."""
    vars(module).update(
        {name: fresh for name, fresh in vars(nn.Module()).items() if "hook" in name}
    )
