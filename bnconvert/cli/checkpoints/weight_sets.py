"""The sets of weights that a checkpoint holds, and which of them is meant."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from bnconvert.cli.checkpoints.checkpoint_file import Unread
from bnconvert.cli.checkpoints.key_prefixes import with_keys_of
from bnconvert.cli.checkpoints.misfit import misfit
from bnconvert.errors import LoadError, UsageError

State = Mapping[str, Any]
#: Words in the names of weights that are averages over training.
_AVERAGED = frozenset({"ema", "swa", "average", "averaged", "shadow"})
#: Parts of the names of what else a checkpoint holds tensors in.
_OTHERS = ("optim", "sched", "scaler", "callback", "loop", "hyper", "args", "averaging", "rng")
#: Lightning's WeightAveraging keeps averaged weights in "state_dict", and the others here.
_NOT_AVERAGED = "current_model_state"
_DEEPEST = 3  # levels of mappings that are looked into
_PLAIN = "save model.state_dict() instead"


def chosen_weights(
    path: Path, content: Any, wanted: State, *, ema: bool = False
) -> tuple[State, tuple[str, ...]]:
    """Return the weights that are meant, and what was chosen, in sentences.

    Args:
        path: the file, for messages.
        content: what it holds.
        wanted: the state_dict of the model that they are for.
        ema: whether averaged weights are meant.

    Raises:
        LoadError: there are none, or several.
        UsageError: averaged ones are meant, and there are none.
    """
    _require_mapping(path, content)
    sets = dict(_sets(content))
    if not sets:
        raise _without_weights(path, content)
    averaged = {key: state for key, state in sets.items() if _is_averaged(key, content)}
    plain = {key: state for key, state in sets.items() if key not in averaged}
    if ema:
        return _averaged_weights(path, plain, averaged)
    kind = plain or averaged
    fitting = [key for key, state in kind.items() if _fits(wanted, state)]
    if len(kind) > 1 and len(fitting) != 1:
        listed = ", ".join(f"`{key}` ({len(state)} keys)" for key, state in kind.items())
        key = next(iter(kind))
        raise LoadError(
            f"{path}: holds several sets of weights: {listed}; save the one that you mean: "
            f"torch.save(torch.load({str(path)!r}, weights_only=True){_subscript(key)}, "
            "'weights.pt')"
        )
    key = fitting[0] if len(kind) > 1 else next(iter(kind))
    return kind[key], (*_choice(key, kind, averaged if plain else {}), *_count(kind[key]))


def _averaged_weights(
    path: Path, plain: Mapping[str, State], averaged: Mapping[str, State]
) -> tuple[State, tuple[str, ...]]:
    """Return the averaged weights."""
    found = averaged or {key: state for key, state in plain.items() if "n_averaged" in state}
    if len(found) != 1:
        raise without_one_average(path, found)
    ((key, state),) = found.items()
    return state, (f"took `{key}`, averaged weights",) if key else _count(state)


def without_one_average(path: Path, averaged: Iterable[str] = ()) -> UsageError:
    """Return the error for --ema with a file that has no averaged weights, or several."""
    listed = ", ".join(f"`{key}`" for key in averaged) or "none"
    return UsageError(
        f"--ema: of averaged weights, {path} holds {listed}; leave it out, or save the ones "
        "that you mean with torch.save"
    )


def _choice(key: str, kind: Mapping[str, State], averaged: Mapping[str, State]) -> Iterator[str]:
    """Yield a sentence where there was something to choose from."""
    if len(kind) > 1:
        others = ", ".join(f"`{other}`" for other in kind if other != key)
        yield f"took `{key}`, the only one that fits the model; it also holds {others}"
    if averaged:
        listed = ", ".join(f"`{other}`" for other in averaged)
        taken = f"`{key}`" if key else "the weights"
        yield f"took {taken}; {listed} holds averaged weights, which --ema takes"
    elif _is_averaged(key, {}):
        yield f"took `{key}`: it holds averaged weights only"


def _count(state: State) -> tuple[str, ...]:
    """Say of an AveragedModel what it is."""
    count = state.get("n_averaged")
    return (f"averaged weights (of {int(count)} updates)",) if isinstance(count, Tensor) else ()


def _sets(content: State, place: str = "", depth: int = 0) -> Iterator[tuple[str, State]]:
    """Yield every mapping that holds tensors, the innermost, with its keys joined by dots."""
    inner: list[tuple[str, State]] = []
    for key, value in content.items() if depth < _DEEPEST else ():
        if isinstance(value, Mapping) and _may_hold_weights(key, value):
            inner += _sets(value, f"{place}.{key}".lstrip("."), depth + 1)
    if inner:
        yield from inner
    elif any(isinstance(value, Tensor) for value in content.values()):
        yield place, content


def _may_hold_weights(key: Any, value: Mapping[Any, Any]) -> bool:
    """Tell whether a mapping in a checkpoint may be a state_dict, or hold one."""
    if isinstance(value, Unread) or not isinstance(key, str) or "param_groups" in value:
        return False
    other = any(part in key.lower() for part in _OTHERS) or key.endswith("_extra_state")
    return not other and all(isinstance(name, str) for name in value)


def _is_averaged(key: str, content: State) -> bool:
    if _NOT_AVERAGED in content:
        return key != _NOT_AVERAGED
    return bool(_AVERAGED & {*re.split(r"[\W_]+", key.lower())})


def _fits(wanted: State, state: State) -> bool:
    try:
        return misfit(wanted, with_keys_of(wanted, state)[0]) is None
    except LoadError:  # it holds the keys of several models, which is said where it is loaded
        return False


def _require_mapping(path: Path, content: Any) -> None:
    """Refuse what is not a mapping from names."""
    if isinstance(content, Unread):
        raise _pickled(path, "", content)
    if not isinstance(content, Mapping):
        raise LoadError(f"{path}: holds a {type(content).__name__}; {_PLAIN}")
    inner = content.get("state_dict")
    for state in (content, inner if isinstance(inner, Mapping) else {}):
        if odd := [key for key in state if not isinstance(key, str)]:
            raise LoadError(f"{path}: holds the key {odd[0]!r}, which is no name; {_PLAIN}")


def _without_weights(path: Path, content: State) -> LoadError:
    """Return the error for a checkpoint without tensors by name."""
    for key, value in content.items():
        if isinstance(value, Unread):
            return _pickled(path, key, value)
    held = ", ".join(f"{key}: {type(value).__name__}" for key, value in [*content.items()][:5])
    return LoadError(f"{path}: holds no weights by name ({held or 'nothing'}); {_PLAIN}")


def _pickled(path: Path, key: str, value: Unread) -> LoadError:
    package = value.name.partition(".")[0]
    if package == "numpy":
        return LoadError(
            f"{path}: holds pickled NumPy arrays, and unpickling could run code from the file; "
            "save tensors, if you trust it: torch.save({k: torch.from_numpy(v) for k, v in "
            f"torch.load({str(path)!r}, weights_only=False).items()}}, 'weights.pt')"
        )
    return LoadError(
        f"{path}: holds a pickled {value.name}, and unpickling it would run code from the file; "
        f"save its weights where {package} is installed, if you trust the file: torch.save("
        f"torch.load({str(path)!r}, weights_only=False){_subscript(key)}.state_dict(), "
        "'weights.pt')"
    )


def _subscript(key: str) -> str:
    return "".join(f"[{part!r}]" for part in key.split(".") if part)
