"""Modules that hold no weights yet, as torch's lazy ones before their first input."""

from torch import nn
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
