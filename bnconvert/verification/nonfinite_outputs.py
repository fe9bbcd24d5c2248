"""Outputs of a model that are NaN or infinite, and what of its inputs and weights already is."""

from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example, named_tensors
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.cases import Case
from bnconvert.verification.finding_ids import NOT_FINITE
from bnconvert.verification.tolerance import Answers


def nonfinite_outputs(
    model: nn.Module,
    names: Sequence[str],
    answers: Mapping[Case, Answers],
    allowed: Collection[str],
) -> Iterator[Finding]:
    """Yield a finding for every output that is not finite somewhere on the given inputs.

    Args:
        model: whose outputs they are.
        names: of the outputs.
        answers: the model's, by case.
        allowed: the names of outputs in which that is meant.
    """
    for index, name in enumerate(names):
        bad = [
            (int((~torch.isfinite(output)).sum()), output.numel())
            for output in _given_outputs(index, answers)
        ]
        worst, total = max(bad, default=(0, 0))
        if worst and name not in allowed:
            why, fix = _cause(model, next(iter(answers)).example)
            yield Finding(
                NOT_FINITE,
                "error",
                ("(root)",),
                f"the model's own output {name} is NaN or infinite in {worst} of {total} "
                f"entries on the given inputs{why}",
                f'{fix}; if it is meant, allow it: allow_nonfinite=("{name}",)',
            )


def without_numbers(
    names: Sequence[str], answers: Mapping[Case, Answers], allowed: Collection[str]
) -> set[int]:
    """Return which outputs have no finite number on the given inputs, though that is not meant.

    Nothing more is to be said of them: that they are always the same, or that weights do not move
    them, comes from it.
    """
    outputs = {index: [*_given_outputs(index, answers)] for index in range(len(names))}
    return {
        index
        for index, values in outputs.items()
        if names[index] not in allowed
        and any(value.numel() for value in values)
        and not any(torch.isfinite(value).any() for value in values)
    }


def _given_outputs(index: int, answers: Mapping[Case, Answers]) -> Iterator[Tensor]:
    for case, known in answers.items():
        if case.given and index < len(known.native):
            yield known.native[index]


def _cause(model: nn.Module, given: Example) -> tuple[str, str]:
    """Return what is not finite before the model computes anything, and what to do."""
    inputs = [str(name) for name, t in named_tensors(model, given) if not _is_finite(t)]
    if inputs:
        return f", and so is the given input {listed(inputs)}", "give inputs that are finite"
    bad = [name for name, weight in model.named_parameters() if not _is_finite(weight)]
    bad += [name for name, buffer in model.named_buffers() if _is_wrong(name, buffer)]
    if bad:
        return f", and so is {listed(bad)}", "load weights that are finite"
    variances = ((n, t) for n, t in model.named_buffers() if n.endswith("running_var"))
    if negative := [name for name, variance in variances if bool((variance < 0).any())]:
        return f": {listed(negative)} is negative", "load weights whose variances are not"
    return "", "look for inputs that overflow, and for roots and logarithms of what is negative"


def _is_wrong(name: str, buffer: Tensor) -> bool:
    """Tell whether a buffer is not finite; a mask, as of attention, may hold infinity."""
    is_statistic = name.rpartition(".")[2].startswith("running_")
    return bool(torch.isnan(buffer).any()) or (is_statistic and not _is_finite(buffer))


def _is_finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
