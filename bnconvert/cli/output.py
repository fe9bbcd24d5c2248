"""What commands write besides reports: weights, and commands as one would type them."""

import shlex
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def command_line(command: str, *arguments: str, **options: Any) -> str:
    """Return a bnconvert command as one would type it; options that are None are left out."""
    words = ["bnconvert", command, *arguments]
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            words += ["--" + name.replace("_", "-"), *map(str, values)]
    return shlex.join(words)


def write_weights(model: "nn.Module", labels: Mapping[str, str], path: Path) -> None:
    """Write a model's state_dict, with labels where the format has any.

    Args:
        model: the model.
        labels: what was done to it.
        path: .safetensors, or anything else for torch's own format.

    Raises:
        OutputError: it cannot be written there.
    """
    import torch

    from bnconvert.cli.device import in_main_memory
    from bnconvert.reporting.whole_file import whole_file

    state = in_main_memory(model.state_dict())
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        # Clones: safetensors refuses tensors that share memory, and tied weights do.
        state = {key: value.detach().clone() for key, value in state.items()}
        metadata = {**labels, "bnconvert.version": version("bnconvert")}
        with whole_file(path) as file:
            save_file(state, file, metadata=metadata)
    else:
        # Into an open file: torch's own writer does not say why it cannot write.
        with whole_file(path) as place, place.open("wb") as file:
            torch.save(state, file)
