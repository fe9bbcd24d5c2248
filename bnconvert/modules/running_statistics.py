"""The running statistics of a module of any class, recognized by the names they usually have."""

from typing import Any

from torch import Tensor, nn

#: Names under which torch, Keras, and norms that people wrote themselves keep a mean and a spread.
_NAMES = {
    "running_mean": ("running_var", "running_std", "running_variance"),
    "moving_mean": ("moving_var", "moving_variance"),
}
STATISTICS_NAMES = frozenset(_NAMES).union(*_NAMES.values())


def held_statistics(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Return the running mean and spread that a module itself holds, or None.

    They may be buffers, parameters or plain attributes.
    """
    for mean_name, spread_names in _NAMES.items():
        mean = _held(module, mean_name)
        if not isinstance(mean, Tensor):
            continue
        for spread in (_held(module, name) for name in spread_names):
            if isinstance(spread, Tensor):
                return mean, spread
    return None


def _held(module: nn.Module, name: str) -> Any:
    for table in (module._buffers, module._parameters, vars(module)):
        if isinstance(table, dict) and table.get(name) is not None:  # a scripted one is no dict
            return table[name]
    return None
