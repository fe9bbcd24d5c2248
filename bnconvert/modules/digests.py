"""Digests of a model's tensors: which weights and statistics a report or a file is about."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from bnconvert.modules.normalization import BATCH_NORM, Normalization
from bnconvert.modules.paths import holders

_STATISTICS = ("running_mean", "running_var")
_COUNTER = "num_batches_tracked"  # no eval forward reads it


def digests(model: nn.Module, largest: int | None = None) -> Mapping[str, str]:
    """Return the digests of a model's "weights" and "statistics", for its report.

    Args:
        model: any module.
        largest: bytes of tensors, above which the model is not read.

    Returns:
        By name, SHA-256 in hexadecimal; nothing where the model is larger, or where its tensors
        are not there whole: lazy, on the meta device, sharded, sparse or quantized.
    """
    tensors = (*model.parameters(), *model.buffers())
    if not all(map(_is_whole, tensors)):
        return {}
    if largest is not None and sum(tensor.nbytes for tensor in tensors) > largest:
        return {}
    names = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    statistics = {"statistics": statistics_digest(model)} if names & {*_STATISTICS} else {}
    return {"weights": weights_digest(model), **statistics}


def weights_digest(model: nn.Module) -> str:
    """Return a digest of all parameters and buffers but the running statistics.

    It depends neither on names nor on their order.
    """
    return digest_of(_tensor_digests(model, of_statistics=False))


def statistics_digest(model: nn.Module) -> str:
    """Return likewise a digest of the running statistics."""
    return digest_of(_tensor_digests(model, of_statistics=True))


def tensor_digest(tensor: Tensor) -> bytes:
    """Return a digest of dtype, shape and numbers; of the dtype alone where there are none."""
    digest = hashlib.sha256(f"{tensor.dtype}".encode())
    with contextlib.suppress(Exception):  # sparse, sharded, on the meta device, not yet made
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{tuple(values.shape)}".encode())
        if values.numel():
            digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def digest_of(parts: Iterable[bytes]) -> str:
    """Return one digest of several, in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _is_whole(tensor: Tensor) -> bool:
    """Tell whether a tensor's numbers are in memory, as bytes of its own."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
    return plain and not (tensor.is_meta or tensor.is_quantized)


def _tensor_digests(model: nn.Module, *, of_statistics: bool) -> Iterator[bytes]:
    """Yield a digest of each tensor, in an order that does not depend on names."""
    ours = {path for path, module in model.named_modules() if isinstance(module, Normalization)}
    found = []
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        name = path.rpartition(".")[2]
        # What our norms hold beyond batch norm's own state does not count: `revert` drops it.
        extra = name not in BATCH_NORM and not ours.isdisjoint(holders(path))
        if name != _COUNTER and not extra and (name in _STATISTICS) is of_statistics:
            found.append(tensor_digest(tensor))
    yield from sorted(found)
