"""MODEL and its options: the model and the example inputs that the user named."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bnconvert.cli.checkpoints import load_checkpoint
from bnconvert.cli.device import beside, device_of_option, moved
from bnconvert.cli.example_inputs import example_inputs, generator, is_archive, raw_example
from bnconvert.cli.models.model_arguments import model_arguments
from bnconvert.cli.models.program_file import load_program
from bnconvert.cli.models.zoo_models import timm_model, torchvision_model
from bnconvert.cli.user_code import load_object, user_code
from bnconvert.cli.values import PROGRAM, model_or_program
from bnconvert.errors import LoadError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.exporting.input_choice import Preprocess
    from bnconvert.graphs.example import Inputs

#: What a function may call its number of classes.
_CLASSES = ("num_classes", "n_classes", "classes", "nc", "num_labels", "out_features")
_ZOOS = ("timm", "torchvision")


def load_model(
    source: str,
    weights: Path | None,
    inputs: Sequence[str] | None,
    preprocess: "Preprocess | None" = None,
    *,
    ema: bool = False,
    pretrained: bool = False,
    arguments: Sequence[str] = (),
    device: str | None = None,
) -> tuple["nn.Module", "Inputs | None"]:
    """Return the model, with its weights loaded, and example inputs where any are known.

    Args:
        source: names the model.
        weights: a checkpoint, if any; what was found in it is said on stderr.
        inputs: describe the example inputs, if any do.
        preprocess: what the inputs are raw for: random ones are drawn so that the model gets
            numbers around 0 again.
        ema: whether the averaged weights of the checkpoint are taken.
        pretrained: whether the weights of the package that has the model are loaded.
        arguments: texts of --model-kwargs.
        device: the value of --device: where both are moved.

    Raises:
        UsageError: an option does not fit, or there is no such device.
        LoadError: says what cannot be found or read, and what to give instead.
    """
    kind, _, name = model_or_program(source).partition(":")
    if ema and weights is None:
        raise UsageError("--ema: there is no checkpoint; give --weights FILE too")
    place = None if device is None else device_of_option(device)
    _seed()  # the same MODEL has the same weights in the next command
    given = model_arguments(arguments)
    if source.endswith(PROGRAM):
        _refuse_options(source, weights=weights, pretrained=pretrained, model_kwargs=given)
        model, example = load_program(Path(source), place)
    elif kind in _ZOOS:
        loads = pretrained or (None if weights is None else False)
        model, example = _from_zoo(kind, name, given, loads)
    else:
        model, example = _from_user(source, given, pretrained)
    if weights is not None:
        said = load_checkpoint(model, weights, ema=ema, classes=_classes_argument(source))
        for sentence in said:
            typer.echo(f"{weights}: {sentence}", err=True)  # stdout is for results
    if inputs:
        example = example_inputs(model, inputs)
    drawn = example is not None and (kind in _ZOOS or inputs) and not is_archive(inputs)
    if preprocess is not None and example is not None and drawn:
        example = raw_example(model, example, preprocess)
    if place is not None:
        return moved(model, example, place)
    return model, _beside_model(example, model) if inputs else example


def require_example(example: "Inputs | None") -> "Inputs":
    """Return the example inputs.

    Raises:
        LoadError: there are none.
    """
    if example is None:
        raise LoadError(
            "no example inputs: give --input 1,3,224,224, or let the factory return "
            "(model, example_inputs)"
        )
    return example


def _from_zoo(
    kind: str, name: str, arguments: Mapping[str, Any], pretrained: bool | None
) -> tuple["nn.Module", "Inputs"]:
    """Make a model of a package, and an example input of its size."""
    import torch

    if kind == "timm":
        model, size = timm_model(name, arguments, pretrained=pretrained)
    else:
        model, size = torchvision_model(name, arguments, pretrained=pretrained)
    return model, (torch.randn(1, *size, generator=generator(), device="cpu"),)


def _from_user(
    source: str, arguments: Mapping[str, Any], pretrained: bool
) -> tuple["nn.Module", "Inputs | None"]:
    """Return the user's module; or call the factory, which may give example inputs too."""
    from torch import Tensor, nn

    found = load_object(source)
    if isinstance(found, nn.Module):
        _refuse_options(source, pretrained=pretrained, model_kwargs=arguments)
        return found, None
    if not callable(found):
        raise LoadError(
            f"{source}: is a {type(found).__name__}; name a torch.nn.Module, or a function that "
            "returns one"
        )
    if pretrained:
        if not _takes(found, "pretrained"):
            raise UsageError(
                f"--pretrained: {source} takes no argument pretrained; let it load its weights "
                "itself, or give --weights FILE"
            )
        arguments = {**arguments, "pretrained": True}
    remedy = "it must run with them" if arguments else "it must run without arguments"
    with user_code(source, remedy):
        made = found(**arguments)
    model, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise LoadError(
            f"{source}: returned a {type(model).__name__}; return a torch.nn.Module, "
            "or (model, example_inputs)"
        )
    if not isinstance(example, Tensor | tuple | list | Mapping | None):
        raise LoadError(
            f"{source}: returned a {type(example).__name__} as example inputs; return a "
            "tuple of tensors, or a dict of keyword tensors"
        )
    return model, tuple(example) if isinstance(example, list) else example


def _beside_model(example: "Inputs | None", model: "nn.Module") -> "Inputs | None":
    """Return inputs of --input where a factory has put its model."""
    from bnconvert.modules.placement import device_of

    device = device_of(model)
    return example if device is None else beside(example, device)


def _refuse_options(source: str, **options: Any) -> None:
    """Refuse options that say how a model is made, for one that is made already."""
    for name, value in options.items():
        if value:
            option = "--" + name.replace("_", "-")
            raise UsageError(
                f"{option}: {source} is a model already; leave it out, or name a function"
            )


def _takes(function: Callable[..., Any], name: str) -> bool:
    """Tell whether a function has a parameter of a name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of C, without a signature
        return False


def _classes_argument(source: str) -> str | None:
    """Return what the function that makes a model calls its number of classes, if it takes any."""
    kind, _, _ = source.partition(":")
    if kind in _ZOOS:
        return "num_classes"
    if source.endswith(PROGRAM):
        return None
    found = load_object(source)
    return next((name for name in _CLASSES if _takes(found, name)), None)


def _seed() -> None:
    import torch

    torch.manual_seed(0)
