"""Checkpoints as people have them: which weights a file holds, and how they get into a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bnconvert.cli.checkpoints.checkpoint_file import require_file_itself
from bnconvert.cli.checkpoints.key_prefixes import with_keys_of
from bnconvert.cli.checkpoints.misfit import misfit
from bnconvert.cli.checkpoints.model_part import completed_by_constants, constants_of
from bnconvert.cli.checkpoints.numpy_weights import SUFFIXES, load_arrays
from bnconvert.cli.checkpoints.shards import read_weights, remedy_of_shard
from bnconvert.cli.checkpoints.weight_sets import chosen_weights, without_one_average
from bnconvert.errors import LoadError, first_line


def load_checkpoint(
    model: nn.Module, path: Path, *, ema: bool = False, classes: str | None = None
) -> tuple[str, ...]:
    """Load the weights of a file into a model, strictly; no code from the file is run.

    Args:
        model: the model.
        path: what torch.save or safetensors has written: a state_dict, or a checkpoint of
            Lightning, timm or a training loop of one's own, which holds one; the index of shards
            or a folder, as Hugging Face writes them; or the arrays of JAX, for timm's models.
        ema: whether its averaged weights are taken.
        classes: what the function that makes the model calls its number of classes, if anything.

    Returns:
        What was chosen, stripped or left out, in sentences.

    Raises:
        LoadError: the file cannot be read, holds no weights or several, or others than the model's.
        UsageError: averaged weights are meant, and there are none, or several.
    """
    if path.suffix.lower() in SUFFIXES and path.is_file():
        require_file_itself(path)
        if ema:
            raise without_one_average(path)
        load_arrays(model, path, classes)
        return ()
    wanted = model.state_dict()
    state, chosen = chosen_weights(path, read_weights(path), wanted, ema=ema)
    try:
        state, stripped = with_keys_of(wanted, state)
    except LoadError as failure:
        raise LoadError(f"{path}: {failure}") from None
    state, placed = completed_by_constants(wanted, state, constants_of(model))
    state, tied = _with_tied(wanted, state)
    if found := misfit(wanted, state, classes):
        remedy = remedy_of_shard(path) or found.remedy
        raise LoadError(f"{path}: does not fit the model: {found.fact}; {remedy}")
    try:
        model.load_state_dict(state)
    except Exception as failure:  # modules may load in their own way, and raise anything
        raise LoadError(
            f"{path}: the model does not load it ({first_line(failure)}); give the checkpoint of "
            "this very model"
        ) from None
    return (*chosen, *stripped, *placed, *tied)


def _with_tied(
    wanted: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Add the keys whose tensors the model has under others too: safetensors stores each once."""
    found, sentences = dict(state), list[str]()
    for key, value in wanted.items():
        twins = (k for k, v in wanted.items() if k in state and _is_same(v, value))
        if key not in state and (twin := next(twins, None)) is not None:
            found[key] = state[twin]
            sentences.append(f"`{key}` is `{twin}` in the model: taken from there")
    return found, tuple(sentences)


def _is_same(first: Any, second: Any) -> bool:
    """Tell whether two values are the same numbers in memory, read in the same order."""
    if not (isinstance(first, Tensor) and isinstance(second, Tensor) and first.numel()):
        return False
    has_memory = first.data_ptr() != 0  # a tensor on the meta device has none
    return has_memory and _reading(first) == _reading(second)


def _reading(tensor: Tensor) -> tuple[object, ...]:
    """Return where in memory the numbers of a tensor are, and how they are read from there."""
    place = tensor.device, tensor.data_ptr()
    return (*place, tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())
