"""Copy ordinary modules as `copy.deepcopy` does, in less than half of its time.

A model is mostly modules whose class does not say how it is copied, dictionaries, numbers, strings
and tensors. `copy.deepcopy` asks each of them by six names how it wants to be copied, and copies
the ten empty tables of hooks that every module has.
"""

import copyreg
import functools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bnconvert.torch_private.storages import identity_of

#: What `copy.deepcopy` returns as it is.
_ATOMIC = frozenset((bool, int, float, complex, str, bytes, type, type(None)))
_CONTAINERS = (dict, list, tuple, set)
#: A class that has none of these of its own is copied by its attributes.
_COPYING = (
    *("__new__", "__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__"),
    *("__getnewargs_ex__", "__getattr__", "__getattribute__"),
)
#: Where `copy.deepcopy` keeps, in its memo, the copies of the tensors' memory.
_STORAGES = "torch"


def copy_plainly(
    value: Any, memo: dict[int, Any], otherwise: Callable[[Any, dict[int, Any]], Any]
) -> Any:
    """Return what `copy.deepcopy(value, memo)` returns, and fill the memo as it does.

    Args:
        value: a module, or what one holds.
        memo: as for `copy.deepcopy`.
        otherwise: copies what is not ordinary; `copy.deepcopy` itself.
    """
    kind: Any = type(value)
    if kind in _ATOMIC:
        return value
    known = memo.get(id(value), memo)
    if known is not memo:
        return known
    if kind is dict:
        table = memo[id(value)] = {}
        for key, item in value.items():
            table[copy_plainly(key, memo, otherwise)] = copy_plainly(item, memo, otherwise)
        return table
    if (kind is OrderedDict or kind is set) and not value:
        return memo.setdefault(id(value), kind())
    if kind is tuple and _ATOMIC.issuperset(map(type, value)):
        return value
    if kind is nn.Parameter:
        return value.__deepcopy__(memo)
    if kind is Tensor and _owns_memory(value):
        return _copy_tensor(value, memo)
    if not _is_ordinary(kind) or not vars(value).keys().isdisjoint(_COPYING):
        return otherwise(value, memo)
    twin = memo[id(value)] = kind.__new__(kind)
    # The modules' own tables are copied too, as the state that torch gives to be copied.
    state = value.__getstate__().items()
    twin.__setstate__({name: copy_plainly(item, memo, otherwise) for name, item in state})
    return twin


@functools.lru_cache(4096)
def _is_ordinary(kind: Any) -> bool:
    """Tell whether a class is copied by its attributes, as `nn.Module` is."""
    return (
        issubclass(kind, nn.Module)
        and not issubclass(kind, _CONTAINERS)
        and kind not in copyreg.dispatch_table
        and all(getattr(kind, name, None) is getattr(nn.Module, name, None) for name in _COPYING)
    )


def _owns_memory(tensor: Tensor) -> bool:
    """Tell whether a tensor is all of its memory, and nothing else: no view, gradient, attribute.

    The kinds of tensors that torch copies in ways of their own are left to it.
    """
    return (
        tensor.device.type in ("cpu", "cuda")
        and tensor.layout is torch.strided
        and not (tensor.requires_grad or tensor.is_quantized)
        and not (tensor.is_conj() or tensor.is_neg())
        and tensor.grad is None
        and not vars(tensor)
        and tensor.is_contiguous()
        and tensor.untyped_storage().nbytes() == tensor.nbytes > 0
    )


def _copy_tensor(tensor: Tensor, memo: dict[Any, Any]) -> Tensor:
    """Copy a tensor; those that lie in the same memory, copied by whom they may, share the copy."""
    storages = memo.setdefault(_STORAGES, {})
    identity = identity_of(tensor.untyped_storage())
    if identity in storages:
        copied = tensor.new_empty(0).set_(storages[identity], 0, tensor.size(), tensor.stride())
    else:
        copied = tensor.clone()
        storages[identity] = copied.untyped_storage()
    memo[id(tensor)] = copied
    return copied
