"""The names that wrappers put before the keys of a state_dict: found by the keys of a model."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from bnconvert.errors import LoadError
from bnconvert.reporting.table import listed

State = Mapping[str, Any]
#: Modules that torch puts around others, wherever in a model.
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module")
_COUNTER = "n_averaged"


def with_keys_of(wanted: State, state: State) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a state_dict with the keys of a model, as far as a prefix is the difference.

    Args:
        wanted: the model's state_dict.
        state: the other.

    Returns:
        The state_dict; and what was stripped or left out, in sentences.

    Raises:
        LoadError: the model's keys stand there several times, after several prefixes.
    """
    found, sentences = dict(state), tuple[str, ...]()
    if (wrapped := _unwrapped(state)) and len(_hits(wanted, found)) < len(_hits(wanted, wrapped)):
        found, sentences = wrapped, _said_of_wrappers(state)
    prefix, *others = _prefixes(wanted, found)
    if not prefix:
        return found, sentences
    if others and _is_whole(wanted, found, prefix):
        listed_prefixes = ", ".join(f"`{name}`" for name in (prefix, *others))
        raise LoadError(
            f"the model's keys stand there after each of {listed_prefixes}; save the ones that you "
            "mean as a state_dict of their own"
        )
    inside = {key.removeprefix(prefix): v for key, v in found.items() if key.startswith(prefix)}
    outside = [key for key in found if not key.startswith(prefix)]
    rest = [key for key in outside if key != _COUNTER]
    if rest and not _is_whole(wanted, found, prefix):
        return found, sentences  # a part of the keys explains nothing
    whole = "all" if not outside else f"{len(inside)} of"
    said = f"{whole} {len(found)} keys begin with `{prefix}`: stripped"
    if rest:
        said += f"; left out, because the model has no such module: {listed(rest)}"
    return inside, (*sentences, said)


def _prefixes(wanted: State, state: State) -> list[str]:
    """Return what stands before the model's keys, the shortest first; "" where it is nothing."""
    counts = Counter({"": len(wanted.keys() & state.keys())})
    for key in state:
        parts = key.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in wanted:
                counts[".".join(parts[:cut]) + "."] += 1
    best = max(counts.values())
    return sorted((prefix for prefix, count in counts.items() if count == best), key=len)


def _is_whole(wanted: State, state: State, prefix: str) -> bool:
    """Tell whether all keys of a model stand in a state_dict after a prefix."""
    return all(prefix + key in state for key in wanted)


def _unwrapped(state: State) -> dict[str, Any]:
    """Return a state_dict without the names of wrappers inside its keys; empty if none has any."""
    parts = {key: [part for part in key.split(".") if part not in _WRAPPERS] for key in state}
    found = {".".join(parts[key]): value for key, value in state.items()}
    return found if found.keys() != state.keys() and len(found) == len(state) else {}


def _hits(wanted: State, state: State) -> Collection[str]:
    """Return the keys of a model that a state_dict has, with the best prefix."""
    prefix = _prefixes(wanted, state)[0]
    return wanted.keys() & {key.removeprefix(prefix) for key in state if key.startswith(prefix)}


def _said_of_wrappers(state: State) -> tuple[str, ...]:
    names = [n for n in _WRAPPERS if any(n in key.split(".") for key in state)]
    count = sum(any(n in key.split(".") for n in names) for key in state)
    return (f"`{'.`, `'.join(names)}.` taken out of {count} of {len(state)} keys",)
