"""Weights of a part of a model: of the network inside of what is put around it to deploy it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from bnconvert.reporting.table import listed

State = Mapping[str, Any]
_COUNT = "n_averaged"  # beside the weights of an AveragedModel
_STATISTICS = "running_mean", "running_var", "num_batches_tracked"


def part_of(wanted: State, state: State) -> tuple[str, str] | None:
    """Return the path of the one part of a model that has all keys of a state_dict.

    Args:
        wanted: the model's state_dict.
        state: the other.

    Returns:
        The path, and what stands before all keys besides, such as "module."; None for no part.
    """
    own = [key for key in state if key != _COUNT]
    if not wanted.keys().isdisjoint(own):
        return None
    for prefix in _shared_prefixes(own):
        keys = [key.removeprefix(prefix) for key in own]
        paths = {k.removesuffix(f".{keys[0]}") for k in wanted if k.endswith(f".{keys[0]}")}
        parts = [path for path in paths if all(f"{path}.{key}" in wanted for key in keys)]
        if len(parts) == 1:
            return parts[0], prefix
    return None


def _shared_prefixes(keys: Sequence[str]) -> Iterator[str]:
    """Yield what all keys begin with, from nothing to all names but the last."""
    names = keys[0].split(".")[:-1] if keys else []
    for count in range(len(names) + 1):
        prefix = "".join(f"{name}." for name in names[:count])
        if not keys or not all(key.startswith(prefix) for key in keys):
            return
        yield prefix


def constants_of(model: nn.Module) -> set[str]:
    """Return the names of the buffers that no training changes: all but the norms' statistics."""
    names = (name for name, _ in model.named_buffers())
    return {name for name in names if not name.endswith(_STATISTICS)}


def completed_by_constants(
    wanted: State, state: State, constants: set[str]
) -> tuple[State, tuple[str, ...]]:
    """Return a state_dict of a part of a model as one of the whole, if the rest are constants.

    Args:
        wanted: the model's state_dict.
        state: the other.
        constants: which of the model's keys need not be loaded.

    Returns:
        The state_dict; and what was done, in sentences.
    """
    found = part_of(wanted, state)
    if found is None:
        return state, ()
    part, prefix = found
    rest = [key for key in wanted if not key.startswith(f"{part}.")]
    if not constants.issuperset(rest):
        return state, ()
    own = {key: value for key, value in state.items() if key != _COUNT}
    whole = {f"{part}.{key.removeprefix(prefix)}": value for key, value in own.items()}
    after = f" after `{prefix}`" if prefix else ""
    said = f"its keys{after} are those of the model's part `{part}`: loaded there"
    if rest:
        said += f"; as the model has them anyway: {listed(rest)}"
    return {**{key: wanted[key] for key in rest}, **whole}, (said,)
