"""The names that wrappers put before the keys of a state_dict: found by the keys of a model."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

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
    """
    found, sentences = dict(state), tuple[str, ...]()
    if (wrapped := _unwrapped(state)) and len(_hits(wanted, found)) < len(_hits(wanted, wrapped)):
        found, sentences = wrapped, _said_of_wrappers(state)
    prefix = _prefix(wanted, found)
    if not prefix:
        return found, sentences
    inside = {key.removeprefix(prefix): v for key, v in found.items() if key.startswith(prefix)}
    outside = [key for key in found if not key.startswith(prefix)]
    others = [key for key in outside if key != _COUNTER]
    if others and not set(wanted) <= set(inside):
        return found, sentences  # a part of the keys explains nothing
    whole = "all" if not outside else f"{len(inside)} of"
    said = f"{whole} {len(found)} keys begin with `{prefix}`: stripped"
    if others:
        said += f"; left out, because the model has no such module: {listed(others)}"
    return inside, (*sentences, said)


def _prefix(wanted: State, state: State) -> str:
    """Return what stands before the model's keys; "" where nothing explains more keys."""
    counts = Counter({"": len(wanted.keys() & state.keys())})
    for key in state:
        parts = key.split(".")
        for cut in range(1, len(parts)):
            if ".".join(parts[cut:]) in wanted:
                counts[".".join(parts[:cut]) + "."] += 1
    best = max(counts.values())
    return min((prefix for prefix, count in counts.items() if count == best), key=len)


def _unwrapped(state: State) -> dict[str, Any]:
    """Return a state_dict without the names of wrappers inside its keys; empty if none has any."""
    parts = {key: [part for part in key.split(".") if part not in _WRAPPERS] for key in state}
    found = {".".join(parts[key]): value for key, value in state.items()}
    return found if found.keys() != state.keys() and len(found) == len(state) else {}


def _hits(wanted: State, state: State) -> Collection[str]:
    """Return the keys of a model that a state_dict has, with the best prefix."""
    prefix = _prefix(wanted, state)
    return wanted.keys() & {key.removeprefix(prefix) for key in state if key.startswith(prefix)}


def _said_of_wrappers(state: State) -> tuple[str, ...]:
    names = [n for n in _WRAPPERS if any(n in key.split(".") for key in state)]
    count = sum(any(n in key.split(".") for n in names) for key in state)
    return (f"`{'.`, `'.join(names)}.` taken out of {count} of {len(state)} keys",)
