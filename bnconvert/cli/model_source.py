"""MODEL, --weights and --input: the model and the example inputs that the user named."""

import importlib
import inspect
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from bnconvert.cli.example_inputs import example_inputs, generator, is_archive, raw_example
from bnconvert.cli.user_code import load_object, user_code
from bnconvert.cli.values import model_source
from bnconvert.errors import LoadError, first_line

if TYPE_CHECKING:
    from torch import nn

    from bnconvert.exporting.input_choice import Preprocess
    from bnconvert.graphs.example import Inputs

_WRAPPINGS = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_LONGEST = 600  # characters of what torch says of keys that do not fit
_ZOO_INPUT = (1, 3, 224, 224)


def load_model(
    source: str,
    weights: Path | None,
    inputs: Sequence[str] | None,
    preprocess: "Preprocess | None" = None,
) -> tuple["nn.Module", "Inputs | None"]:
    """Return the model, with its weights loaded, and example inputs where any are known.

    Args:
        source: names the model.
        weights: a file of weights, if any.
        inputs: describe the example inputs, if any do.
        preprocess: what the inputs are raw for: random ones are drawn so that the model gets
            numbers around 0 again.

    Raises:
        LoadError: says what cannot be found or read, and what to give instead.
    """
    kind, _, name = model_source(source).partition(":")
    _seed()  # the same MODEL has the same weights in the next command
    made = {"timm": _from_timm, "torchvision": _from_torchvision}.get(kind)
    model, example = made(name) if made else _from_factory(kind, name)
    if weights is not None:
        _load_weights(model, weights)
    if inputs:
        example = example_inputs(model, inputs)
    drawn = example is not None and (made or inputs) and not is_archive(inputs)
    if preprocess is not None and example is not None and drawn:
        example = raw_example(model, example, preprocess)
    return model, example


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


def _from_timm(name: str) -> tuple["nn.Module", "Inputs"]:
    """Make a timm model by name, and an example input of its size."""
    import torch

    timm = _import_extra("timm", "timm")
    try:
        model = timm.create_model(name, pretrained=False)
    except RuntimeError as failure:
        raise LoadError(f"timm:{name}: {failure}; list the names with timm.list_models()") from None
    size = getattr(model, "default_cfg", {}).get("input_size", _ZOO_INPUT[1:])
    return model, (torch.randn(1, *size, generator=generator(), device="cpu"),)


def _from_torchvision(name: str) -> tuple["nn.Module", "Inputs"]:
    """Make a torchvision model by name, without downloading weights."""
    import torch

    models = _import_extra("torchvision.models", "torchvision")
    try:
        builder = models.get_model_builder(name)
    except ValueError as failure:
        raise LoadError(
            f"torchvision:{name}: {failure}; list the names with torchvision.models.list_models()"
        ) from None
    parameters = inspect.signature(builder).parameters
    offline = {"weights": None, "weights_backbone": None, "init_weights": True}
    model = builder(**{key: value for key, value in offline.items() if key in parameters})
    return model, (torch.randn(*_ZOO_INPUT, generator=generator(), device="cpu"),)


def _import_extra(module: str, package: str) -> Any:
    """Import an optional package; say how to install it where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as failure:
        raise LoadError(
            f"{package} cannot be imported ({failure}); pip install {package}"
        ) from None


def _from_factory(where: str, name: str) -> tuple["nn.Module", "Inputs | None"]:
    """Call the user's factory; return its model, and its example inputs if it gives any."""
    from torch import Tensor, nn

    factory = load_object(f"{where}:{name}")
    if not callable(factory):
        raise LoadError(f"{where}:{name}: is not a function; name one that returns the model")
    with user_code(f"{where}:{name}", "it must run without arguments"):
        made = factory()
    model, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise LoadError(
            f"{where}:{name}: returned a {type(model).__name__}; return a torch.nn.Module, "
            "or (model, example_inputs)"
        )
    if not isinstance(example, Tensor | tuple | list | Mapping | None):
        raise LoadError(
            f"{where}:{name}: returned a {type(example).__name__} as example inputs; return a "
            "tuple of tensors, or a dict of keyword tensors"
        )
    return model, tuple(example) if isinstance(example, list) else example


def _load_weights(model: "nn.Module", path: Path) -> None:
    """Load a file of weights into the model, strictly."""
    state = _state_dict(path)
    try:
        model.load_state_dict(state)
    except Exception as failure:  # of values that are no tensors, torch raises anything
        said = shorten(str(failure), _LONGEST, placeholder=" ...")
        raise LoadError(
            f"{path}: does not fit the model: {said}; give the state_dict of this very model"
        ) from None


def _state_dict(path: Path) -> dict[str, Any]:
    """Read a state_dict from a file, without running code from it."""
    import torch

    if not path.is_file():
        raise LoadError(f"{path}: there is no such file; give a state_dict")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LoadError(
            f"{path}: holds a pickled object, and unpickling it would run code from the file; "
            "save model.state_dict() instead, and name the model by its factory"
        ) from None
    except Exception as failure:  # of a broken file, torch and safetensors raise anything
        raise LoadError(f"{path}: cannot be read ({first_line(failure)}); save it again") from None
    for key in _WRAPPINGS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        raise LoadError(f"{path}: holds a {type(state).__name__}; save model.state_dict() instead")
    odd = [key for key in state if not isinstance(key, str)]
    if odd:
        raise LoadError(
            f"{path}: holds the key {odd[0]!r}, which is no name; save model.state_dict() instead"
        )
    return {_without_prefix(key, state): value for key, value in state.items()}


def _without_prefix(key: str, state: Mapping[str, Any]) -> str:
    """Remove a prefix from a key that all keys have (of DataParallel or torch.compile)."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            key = key.removeprefix(prefix)
    return key


def _seed() -> None:
    import torch

    torch.manual_seed(0)
