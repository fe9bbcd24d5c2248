"""Recognize models whose parameters or gradients other processes share: FSDP, DTensor, DDP."""

import sys
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

_ORDER = (
    "use the model as it was before: convert, recompute, fold or export first, then wrap or shard "
    "the result (trained weights come from torch.distributed.checkpoint.state_dict."
    "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)))"
)


def why_sharded(model: nn.Module) -> str | None:
    """Return why a model must not be changed or copied any more, as "path: fact; remedy"; or None.

    Its norms, parameters and hooks are known to what has wrapped or sharded it: another norm would
    read parameters that are not gathered, or parameters would miss the reduction of gradients.
    """
    for path, module in model.named_modules():
        wrapper = _wrapper_of(module)
        if wrapper is not None:
            return f"{path or '(root)'}: {wrapper}; {_ORDER}"
    tensor_class = _loaded("torch.distributed.tensor", "DTensor")
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if isinstance(tensor, tensor_class):
            return f"{path}: is a DTensor, of which this process holds a part; {_ORDER}"
    return None


def _wrapper_of(module: nn.Module) -> str | None:
    """Return what has wrapped or sharded a module, as a fact."""
    if isinstance(module, _loaded("torch.distributed.fsdp", "FSDPModule")):
        return "is sharded by fully_shard"
    if isinstance(module, _loaded("torch.distributed.fsdp", "FullyShardedDataParallel")):
        return "is wrapped by FullyShardedDataParallel"
    if isinstance(module, DistributedDataParallel | DataParallel):
        return f"is wrapped by {type(module).__name__}"
    return None


def _loaded(package: str, name: str) -> Any:
    """Return a class of a package that may be loaded: before that, nothing is an instance of it."""
    return getattr(sys.modules.get(package), name, ())
