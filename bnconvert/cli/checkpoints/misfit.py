"""In which way a state_dict does not fit a model, in words instead of a list of all keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnconvert.cli.checkpoints.model_part import part_of
from bnconvert.reporting.table import listed

State = Mapping[str, Any]
_SAME = "give the checkpoint of this very model"
_STATISTICS = "running_mean", "running_var"
_COUNTER = "num_batches_tracked"  # files older than torch 0.4.1 have none, and load
_FEW = 0.1  # of the model's keys: with fewer in common, the file is of another architecture
_HEADS = 2  # modules that may differ in their outputs; more are another width
_SHOWN = 3


@dataclass(frozen=True)
class Misfit:
    """What differs, and what to do about it, in words."""

    fact: str
    remedy: str


def misfit(wanted: State, state: State, classes: str | None = None) -> Misfit | None:
    """Return in which way a state_dict does not fit a model; None where it does.

    Args:
        wanted: the model's state_dict.
        state: the other, without prefixes.
        classes: what the function that makes the model calls its number of classes, if anything.
    """
    odd = [k for k, v in wanted.items() if isinstance(v, Tensor) and not _is_tensor(state, k)]
    if odd:
        return Misfit(f"{odd[0]} is of {type(state[odd[0]]).__name__}, which is no tensor", _SAME)
    missing = [k for k in wanted if k not in state and not k.endswith(_COUNTER)]
    besides = [k for k in state if k not in wanted]
    if missing and not besides and all(key.endswith(_STATISTICS) for key in missing):
        fact = f"it has no running statistics, by which eval mode normalizes ({_some(missing)})"
        return Misfit(fact, "save model.state_dict(), which has them; parameters alone do not do")
    if (found := part_of(wanted, state)) is not None:
        part, _ = found
        rest = [key for key in wanted if not key.startswith(f"{part}.")]
        fact = f"it is of the model's part `{part}`, and has nothing for {_some(rest)}"
        return Misfit(fact, f"load it where the model is made: model.{part}.load_state_dict(...)")
    if missing or besides:
        return Misfit(_other_keys(wanted, state, missing, besides), _SAME)
    differing = [k for k, v in wanted.items() if k in state and _sizes(v) != _sizes(state[k])]
    return _other_sizes(wanted, state, differing, classes) if differing else None


def _is_tensor(state: State, key: str) -> bool:
    return key not in state or isinstance(state[key], Tensor)


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _other_keys(wanted: State, state: State, missing: Sequence[str], besides: Sequence[str]) -> str:
    """Say which keys differ: some of them, or that they have nothing in common."""
    common = len(wanted.keys() & state.keys())
    if common < _FEW * len(wanted):
        return (
            f"of the model's {len(wanted)} keys ({_some(wanted)}) the file has {common}, and "
            f"{len(besides)} others ({_some(besides)}): it is of another architecture"
        )
    parts = [f"it lacks {len(missing)} of {len(wanted)} keys ({_some(missing)})"] if missing else []
    parts += [f"it has {len(besides)} that the model lacks ({_some(besides)})"] if besides else []
    return " and ".join(parts)


def _other_sizes(
    wanted: State, state: State, differing: Sequence[str], classes: str | None
) -> Misfit:
    """Say which sizes differ; of a head, how many classes it has."""
    modules = [*dict.fromkeys(key.rpartition(".")[0] or key for key in differing)]
    pairs = {(_sizes(state[k])[:1], _sizes(wanted[k])[:1]) for k in differing}
    others = [k for k in differing if _sizes(state[k])[1:] != _sizes(wanted[k])[1:]]
    if len(modules) <= _HEADS and len(pairs) == 1 and not others and () not in next(iter(pairs)):
        (((has,), (wants,)),) = pairs
        remedy = f"make the model with {has}"
        remedy += f": --model-kwargs {classes}={has}" if classes else ""
        return Misfit(
            f"{listed(modules)} has {has} outputs in the file, {wants} in the model", remedy
        )
    first = differing[0]
    fact = f"{len(differing)} of {len(wanted)} tensors have other sizes, such as {first}: "
    fact += f"{_sizes(state[first])} in the file, {_sizes(wanted[first])} in the model"
    return Misfit(fact, "make the model with the arguments that it was trained with")


def _some(keys: Sequence[str] | State) -> str:
    shown = [*keys][:_SHOWN]
    return ", ".join(shown) + (", ..." if len(keys) > len(shown) else "")
