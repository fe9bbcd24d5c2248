"""The only code that assigns to a model: build modules that replace others, and attach them."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from bnconvert.modules.kinds import (
    Kind,
    channels_of,
    eps_of,
    has_running_statistics,
    kind_of,
    norms_in,
)
from bnconvert.modules.normalization import Normalization
from bnconvert.torch_private.module_state import state_without

Successor = TypeVar("Successor", bound=nn.Module)

_AFFINE = ("weight", "bias")
#: What batch norms hold and group norms do not.
_BATCH_NORM_ALONE = {
    *("num_features", "momentum", "track_running_stats", "process_group"),
    *("running_mean", "running_var", "num_batches_tracked"),
}


def inherit(source: nn.Module, successor: type[Successor], **attributes: Any) -> Successor:
    """Build a module of another class that takes over all state of `source`.

    This is the one place where state is handed over: the whole instance dictionary, not attribute
    by attribute. So the successor has the same Parameter and buffer objects, children, eps,
    momentum, training flag and custom attributes.
    Hook dictionaries stay the same objects, so that a hook's handle still removes it. `source`
    itself is not changed, and is not to be used any more.

    Args:
        source: a module that `kind_of` knows.
        successor: the class to build; its `__init__` is not called.
        **attributes: attributes that the successor has beyond those, set last.
    """
    kind = kind_of(source)
    assert kind is not None, "inherit is for norms"
    state = state_without(source, _added_names(source))
    if not isinstance(source, _NormBase):
        state = _batch_norm_state(source) | state
        state["_buffers"].setdefault("num_batches_tracked", None)
    target = successor.__new__(successor)
    vars(target).update(state)
    for name, value in attributes.items():
        setattr(target, name, value)
    return target


def plain_group_norm(source: nn.Module, groups: int) -> nn.GroupNorm:
    """Build torch's own group norm with a norm's affine, eps and hooks; nothing else is kept.

    Args:
        source: the norm, whose forward calls no children; looked at only.
        groups: the number of groups.
    """
    target = inherit(source, nn.GroupNorm, num_groups=groups, num_channels=channels_of(source))
    promote_affine(target)
    kept = state_without(target, _BATCH_NORM_ALONE)
    vars(target).clear()
    vars(target).update(kept)
    return target


def plain_batch_norm(source: nn.Module, kind: Kind, domain: str | None = None) -> nn.Module:
    """Build the plain torch batch norm for a norm of bnconvert or another package's frozen norm.

    Args:
        source: the norm; looked at only.
        kind: its kind.
        domain: whose statistics; None for those in use.
    """
    target = inherit(source, kind.plain_class)
    if isinstance(source, Normalization):
        for name, tensor in source.state_of(domain).items():
            owner: dict[str, Any] = target._parameters if name in _AFFINE else target._buffers
            owner[name] = tensor
    promote_affine(target)
    if target.num_batches_tracked is None and has_running_statistics(target):
        target._buffers["num_batches_tracked"] = torch.zeros(
            (), dtype=torch.long, device=target.get_buffer("running_mean").device
        )
    return target


def plain_batch_norm_edits(
    model: nn.Module, *, everything: bool, domain: str | None = None
) -> dict[str, nn.Module]:
    """Build plain batch norms for the norms of bnconvert and frozen ones, by path; attach none.

    Args:
        model: looked at only.
        everything: also for norms that are not batch norm in eval mode (group norm); else those
            whose statistics were fixed are in eval mode, where they still are.
        domain: whose statistics, of norms that hold several; None for those in use.
    """
    built: dict[int, nn.Module] = {}
    edits: dict[str, nn.Module] = {}
    for path, module, kind in norms_in(model, remove_duplicate=False):
        ours = isinstance(module, Normalization)
        if kind.unsupported or not (ours or kind.has_fixed_statistics):
            continue
        if everything or not isinstance(module, Normalization) or module.is_batch_norm_in_eval:
            if id(module) not in built:
                several = isinstance(module, Normalization) and module.domains
                built[id(module)] = plain_batch_norm(module, kind, domain if several else None)
                if kind.has_fixed_statistics and not everything:
                    built[id(module)].eval()
            edits[path] = built[id(module)]
    return edits


def replace_by_plain_batch_norm(model: nn.Module) -> nn.Module:
    """Replace, in place, every norm that is batch norm in eval mode by plain batch norm.

    For the deployment side, on its own copy: a graph capture then sees one operator. The norms
    are in eval mode afterwards, where their statistics were fixed. Norms that compute something
    else in eval (group norm) stay.
    """
    return swap(model, plain_batch_norm_edits(model, everything=False))


def promote_affine(target: nn.Module) -> None:
    """Turn the weight and bias that a frozen norm keeps as buffers into Parameters."""
    for name in _AFFINE:
        tensor = target._buffers.pop(name, None)
        if tensor is not None:
            target._parameters[name] = nn.Parameter(tensor)


def swap(model: nn.Module, edits: Mapping[str, nn.Module]) -> nn.Module:
    """Attach each module of `edits` at its path, all or none, and return the model.

    Args:
        model: changed in place.
        edits: path to module, with every alias as a path of its own. The path "" is the model
            itself: its edit is returned in the model's stead.
    """
    replaced: dict[str, nn.Module] = {}
    try:
        for path, module in edits.items():
            replaced[path] = model.get_submodule(path)
            _attach(model, path, module)
    except BaseException:
        for path, module in replaced.items():
            _attach(model, path, module)
        raise
    root, detached, attached = edits.get("", model), _norms(replaced), _norms(edits)
    for norm in detached:
        norm.on_detach(root)
    for norm in attached:
        norm.on_attach(root)
    return root


def write_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Write tensors into a model's parameters, in place; a bias that is missing is registered.

    Args:
        model: changed in place; whoever shares a parameter goes on sharing it.
        weights: path of the parameter to its new value.
    """
    for path, value in weights.items():
        owner_path, _, name = path.rpartition(".")
        owner = model.get_submodule(owner_path)
        old = owner._parameters.get(name)
        if old is None:
            owner._parameters[name] = nn.Parameter(value.clone(), requires_grad=False)
        else:
            with torch.no_grad():
                old.copy_(value)


def _attach(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    if path:
        model.get_submodule(parent)._modules[name] = module


def _norms(modules: Mapping[str, nn.Module]) -> list[Normalization]:
    """Return each norm of bnconvert once, also where several paths lead to it."""
    unique = {id(module): module for module in modules.values()}
    return [module for module in unique.values() if isinstance(module, Normalization)]


def instances_in(value: object, kinds: tuple[type, ...], depth: int = 3) -> Iterator[Any]:
    """Yield the instances of `kinds` in a value: itself, or inside lists, tuples, sets, dicts."""
    if isinstance(value, kinds):
        yield value
    elif depth and isinstance(value, list | tuple | set | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from instances_in(item, kinds, depth - 1)


def _added_names(source: nn.Module) -> set[str]:
    return {name for owner in type(source).__mro__ for name in vars(owner).get("added_names", ())}


def _batch_norm_state(frozen: nn.Module) -> dict[str, Any]:
    """Return the hyperparameters that a frozen norm does not have and a batch norm needs."""
    return {
        "num_features": channels_of(frozen),
        "eps": eps_of(frozen),
        "momentum": 0.1,  # torch's default; nothing remembers another one
        "affine": True,
        "track_running_stats": True,
    }
