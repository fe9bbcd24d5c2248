"""Weights as NumPy arrays, as JAX's vision models were published: timm's models read them."""

from pathlib import Path
from typing import Any

from torch import nn

from bnconvert.errors import LoadError, first_line
from bnconvert.reporting.table import listed
from bnconvert.torch_private.tensor_versions import version_of

SUFFIXES = (".npz", ".npy")


def load_arrays(model: nn.Module, path: Path, classes: str | None) -> None:
    """Load arrays into a model that knows their names, each of its weights.

    Raises:
        LoadError: the model does not know them, or some of its weights are not among them.
    """
    load: Any = getattr(model, "load_pretrained", None)
    if not callable(load):
        raise LoadError(
            f"{path}: holds NumPy arrays, which {type(model).__name__} cannot load; give a file of "
            "torch.save or safetensors"
        )
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    before = {name: version_of(tensor) for name, tensor in tensors.items()}
    try:
        load(str(path))
    except Exception as failure:  # the model's own code, which may raise anything
        raise LoadError(
            f"{path}: the model does not load it ({first_line(failure)}); give the arrays of this "
            "very model"
        ) from failure
    # It skips what does not fit, such as a head of other classes, and says nothing.
    left = [name for name, tensor in tensors.items() if version_of(tensor) == before[name]]
    if left:
        remedy = f", with another --model-kwargs {classes}=N" if classes else ""
        raise LoadError(
            f"{path}: fills all but {len(left)} of the model's {len(tensors)} weights "
            f"({listed(left)}); make the model as it was trained{remedy}"
        )
