"""timm: and torchvision: as MODEL: a model by its name, with or without the package's weights."""

import importlib
import inspect
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from bnconvert.cli.models.hub import hub_asked_once
from bnconvert.errors import LoadError, UsageError

if TYPE_CHECKING:
    from torch import nn

#: Sources of timm that name weights too.
_WITH_WEIGHTS = ("hf-hub:", "hf_hub:", "local-dir:")
_SIZE = (3, 224, 224)
#: Parts of the names of exceptions that mean: there is no connection.
_OFFLINE = ("URLError", "Connection", "Timeout", "LocalEntryNotFound", "OfflineMode", "HTTPError")
#: The shape of one example input: channels, height, width.
Size = tuple[int, ...]


def timm_model(
    name: str, arguments: Mapping[str, Any], *, pretrained: bool | None
) -> tuple["nn.Module", Size]:
    """Return timm's model of a name, and the size of its input.

    Args:
        name: as `timm.create_model` takes it: with a tag of weights, hf-hub: or local-dir:.
        arguments: of `timm.create_model`.
        pretrained: whether its weights are loaded; None where only hf-hub: and local-dir: do.

    Raises:
        LoadError: there is no such model, or its weights cannot be had.
    """
    timm = _import_extra("timm")
    loads = name.startswith(_WITH_WEIGHTS) if pretrained is None else pretrained
    unreachable: str | None = None
    try:
        with hub_asked_once() if loads else nullcontext() as unreachable:
            model = timm.create_model(name, pretrained=loads, **arguments)
    except Exception as failure:  # timm, its hub and its models raise anything
        remedy, everything = "", "list the names with timm.list_models()"
        if "Unknown model" in str(failure):
            remedy = _did_you_mean(name, timm.list_models())
        elif "pretrained tag" in str(failure):
            remedy = (
                _did_you_mean(name, timm.list_pretrained(f"{name.partition('.')[0]}*")) or remedy
            )
        raise _not_made(f"timm:{name}", failure, remedy + everything, unreachable) from failure
    config = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = config.get("input_size", _SIZE)
    size = arguments.get("img_size", (height, width))
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return model, (arguments.get("in_chans", channels), height, width)


def torchvision_model(
    name: str, arguments: Mapping[str, Any], *, pretrained: bool | None
) -> tuple["nn.Module", Size]:
    """Return torchvision's model of a name, and the size of its input.

    Args:
        name: resnet18, or resnet18@IMAGENET1K_V1 for these weights of it.
        arguments: of the function that makes it.
        pretrained: whether its default weights are loaded.

    Raises:
        LoadError: there is no such model, or its weights cannot be had.
    """
    models = _import_extra("torchvision.models")
    name, _, tag = name.partition("@")
    try:
        builder = models.get_model_builder(name)
    except ValueError as failure:
        near = _did_you_mean(name, models.list_models())
        raise LoadError(
            f"torchvision:{name}: {failure}; {near}list the names with "
            "torchvision.models.list_models()"
        ) from None
    weights = _torchvision_weights(name, tag or ("DEFAULT" if pretrained else ""))
    parameters = inspect.signature(builder).parameters
    offline = {"weights": weights, "weights_backbone": None, "init_weights": weights is None}
    own = {key: value for key, value in offline.items() if key in parameters}
    try:
        model = builder(**{**own, **arguments})
    except Exception as failure:  # torchvision and its downloads raise anything
        raise _not_made(f"torchvision:{name}", failure, "name what it takes") from failure
    side = getattr(torchvision_transforms(name, tag), "crop_size", None)
    return model, (3, *(side * 2)[:2]) if side else _SIZE


def torchvision_transforms(name: str, tag: str = "") -> Any:
    """Return the transforms of a model's weights, nothing downloaded; None where it has none."""
    models = _import_extra("torchvision.models")
    try:
        return models.get_model_weights(name)[tag or "DEFAULT"].transforms()
    except (KeyError, ValueError, AttributeError):
        return None


def _torchvision_weights(name: str, tag: str) -> Any:
    """Return the member of a model's weights that a tag names; None for an empty one."""
    if not tag:
        return None
    members = importlib.import_module("torchvision.models").get_model_weights(name).__members__
    if tag not in members:
        known = ", ".join(f"torchvision:{name}@{other}" for other in members)
        raise LoadError(f"torchvision:{name}@{tag}: there are no such weights; write {known}")
    return members[tag]


def _not_made(
    source: str, failure: Exception, remedy: str, unreachable: str | None = None
) -> LoadError:
    """Return the error for a model that a package does not make.

    Args:
        source: the model, as it was named.
        failure: what the package raises.
        remedy: what to do where it is about something else than the connection.
        unreachable: why there is none, where that is known.
    """
    said = (str(failure) or type(failure).__name__).splitlines()[0]
    if any(part in cls.__name__ for cls in type(failure).__mro__ for part in _OFFLINE):
        return LoadError(
            f"{source}: its weights are not on this machine and cannot be downloaded "
            f"({unreachable or said}); "
            "give a checkpoint with --weights FILE, or timm:local-dir:FOLDER"
        )
    if isinstance(failure, TypeError) and "argument" in said:
        return UsageError(f"{source}: {said}; --model-kwargs gives what its function takes")
    if "num_classes" in said:  # torchvision's weights fix the number
        return UsageError(
            f"{source}: these weights have their own classes ({said}); leave out num_classes, "
            "or give your own checkpoint with --weights FILE"
        )
    return LoadError(f"{source}: {said}; {remedy}")


def _did_you_mean(name: str, names: Iterable[str]) -> str:
    near = get_close_matches(name, [*names], n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? else " if near else ""


def _import_extra(module: str) -> Any:
    """Import an optional package; say how to install it where it is missing."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as failure:
        raise LoadError(
            f"{package} cannot be imported ({failure}); pip install {package}"
        ) from None
