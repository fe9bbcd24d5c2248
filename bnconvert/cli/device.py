"""--device: where a model runs, with its inputs beside it; what is written lies in main memory."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bnconvert.errors import LoadError, UsageError, first_line

if TYPE_CHECKING:
    import torch
    from torch import Tensor, UntypedStorage, nn

    from bnconvert.graphs.example import Inputs


def device_of_option(text: str) -> "torch.device":
    """Return the device that the value of --device names.

    Raises:
        UsageError: there is none of that name here, or it has no float64.
    """
    import torch

    there = _devices()
    if not {text, f"{text}:0"} & {*there}:
        raise UsageError(f"--device {text}: is not there; there is {', '.join(there)}")
    try:
        torch.zeros(1, dtype=torch.float64, device=text)
    except Exception as failure:  # whatever its backend raises
        raise UsageError(
            f"--device {text}: holds no numbers in float64, in which statistics and proofs are "
            f"computed ({first_line(failure)}); name cpu"
        ) from None
    return torch.device(text)


def moved(
    model: "nn.Module", example: "Inputs | None", device: "torch.device"
) -> tuple["nn.Module", "Inputs | None"]:
    """Return a model and its example inputs on a device.

    Raises:
        LoadError: the model cannot be moved there.
    """
    try:
        model = model.to(device)
    except Exception as failure:  # too large, without numbers, or of its own class
        raise LoadError(
            f"--device {device}: {type(model).__name__} cannot be moved there "
            f"({first_line(failure)}); leave it out, or name another"
        ) from failure
    return model, None if example is None else beside(example, device)


def beside(value: Any, device: "torch.device") -> Any:
    """Return inputs or a batch with its tensors on a device; as it is where they are there."""
    from torch import Tensor
    from torch.utils import _pytree as pytree

    from bnconvert.graphs.example import Example

    if isinstance(value, Example):
        return value.map(lambda tensor: tensor.to(device))
    plain = dict(value) if isinstance(value, Mapping) else value
    elsewhere = [x for x in pytree.tree_leaves(plain) if isinstance(x, Tensor)]
    if all(tensor.device == device for tensor in elsewhere):
        return value
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), plain)


def in_main_memory(state: "dict[str, Any]") -> "dict[str, Any]":
    """Return a state_dict whose tensors lie in main memory, and share it as they did."""
    copies: dict[int, UntypedStorage] = {}
    for key, value in state.items():
        state[key] = _in_main_memory(value, copies)
    return state


def _in_main_memory(value: Any, copies: "dict[int, UntypedStorage]") -> Any:
    """Return a tensor that lies elsewhere over a copy of its storage, which is made once."""
    import torch

    if not isinstance(value, torch.Tensor) or value.device.type in ("cpu", "meta"):
        return value
    if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.layout is not torch.strided:
        return value.cpu()
    storage = value.untyped_storage()
    if storage.data_ptr() not in copies:
        copies[storage.data_ptr()] = storage.cpu()  # type: ignore[no-untyped-call]
    empty: Tensor = torch.empty(0, dtype=value.dtype, device="cpu")
    held = copies[storage.data_ptr()]
    return empty.set_(held, value.storage_offset(), value.shape, value.stride())


def _devices() -> list[str]:
    """Return the names of all devices that are here."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    count = torch.accelerator.device_count() if found is not None else 0
    return ["cpu", *(f"{found}:{index}" for index in range(count))]
