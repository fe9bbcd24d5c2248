"""Modules that hold no weights yet: torch's lazy ones before their first input, those on meta."""

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnconvert.errors import Refusal, UnsupportedModelError
from bnconvert.reporting.table import listed


def why_lazy(model: nn.Module) -> Refusal | None:
    """Refuse a model of which some modules have seen no input; None where all have their weights.

    Every copy would draw other weights when it runs, which the model never has.
    """
    lazy = {
        path or "(root)": type(module).__name__
        for path, module in model.named_modules()
        if any(map(is_lazy, (*module.parameters(False), *module.buffers(False))))
    }
    if not lazy:
        return None
    classes = ", ".join(dict.fromkeys(lazy.values()))
    return Refusal(
        "lazy",
        f"{listed([*lazy])}: lazy ({classes}), with no weights before the first input",
        "run the model once on an input first, and remove what that does not reach",
    )


def require_weights(model: nn.Module) -> None:
    """Raise where modules of a model are lazy and have seen no input.

    Raises:
        UnsupportedModelError: it names them.
    """
    if refusal := why_lazy(model):
        raise UnsupportedModelError(str(refusal))


def why_on_meta(model: nn.Module) -> Refusal | None:
    """Refuse a model of which some tensors are on the meta device; None where all have numbers."""
    missing = [name for name, tensor in _held(model) if tensor.is_meta]
    if not missing:
        return None
    loaded = model.state_dict().keys()
    if made := [name for name in missing if name not in loaded]:
        return Refusal(
            "on-meta",
            f"{listed(missing)}: on the meta device, without numbers, and a checkpoint does not "
            f"hold {listed(made)}",
            "build the model outside of torch.device('meta'), then load its weights",
        )
    return Refusal(
        "on-meta",
        f"{listed(missing)}: on the meta device, without numbers",
        "load the weights first: model.load_state_dict(weights, assign=True)",
    )


def require_numbers(model: nn.Module) -> None:
    """Raise where a model has no weights yet, or has tensors on the meta device.

    Raises:
        UnsupportedModelError: it names them.
    """
    require_weights(model)
    if refusal := why_on_meta(model):
        raise UnsupportedModelError(str(refusal))


def _held(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, but none that accelerate brings for the forward."""
    for path, module in model.named_modules():
        if not hasattr(module, "_hf_hook"):
            for name, tensor in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                yield f"{path}.{name}".lstrip("."), tensor
