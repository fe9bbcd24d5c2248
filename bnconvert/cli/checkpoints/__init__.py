"""Checkpoints as people have them: which weights a file holds, and how they get into a model."""

from pathlib import Path

from torch import nn

from bnconvert.cli.checkpoints.checkpoint_file import read_checkpoint
from bnconvert.cli.checkpoints.key_prefixes import with_keys_of
from bnconvert.cli.checkpoints.misfit import misfit
from bnconvert.cli.checkpoints.weight_sets import chosen_weights
from bnconvert.errors import LoadError, first_line


def load_checkpoint(
    model: nn.Module, path: Path, *, ema: bool = False, classes: str | None = None
) -> tuple[str, ...]:
    """Load the weights of a file into a model, strictly; no code from the file is run.

    Args:
        model: the model.
        path: what torch.save or safetensors has written: a state_dict, or a checkpoint of
            Lightning, timm or a training loop of one's own, which holds one.
        ema: whether its averaged weights are taken.
        classes: what the function that makes the model calls its number of classes, if anything.

    Returns:
        What was chosen, stripped or left out, in sentences.

    Raises:
        LoadError: the file cannot be read, holds no weights or several, or others than the model's.
    """
    wanted = model.state_dict()
    state, chosen = chosen_weights(path, read_checkpoint(path), wanted, ema=ema)
    state, stripped = with_keys_of(wanted, state)
    if found := misfit(wanted, state, classes):
        raise LoadError(f"{path}: does not fit the model: {found.fact}; {found.remedy}")
    try:
        model.load_state_dict(state)
    except Exception as failure:  # modules may load in their own way, and raise anything
        raise LoadError(
            f"{path}: the model does not load it ({first_line(failure)}); give the checkpoint of "
            "this very model"
        ) from None
    return (*chosen, *stripped)
