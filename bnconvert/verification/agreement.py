"""Figures of agreement for the report, which decide nothing: best classes, cosine similarity."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnconvert.errors import ExportError
from bnconvert.reporting.records import Check
from bnconvert.verification.cases import Case
from bnconvert.verification.tolerance import Answers

_MANY = 10  # from so many classes on, top-5 agreement means something
Outputs = list[Tensor] | str


def agreement(
    names: Sequence[str], answers: Mapping[Case, Answers], outputs: Mapping[Case, Outputs]
) -> dict[str, str]:
    """Return facts on how far every floating-point output agrees with the float64 model's.

    The cosine similarity is the worst over all inputs. For outputs of shape (N, classes) it is also
    the share of rows with the same best class, and of ten or more classes with the same best five.
    """
    facts: dict[str, str] = {}
    cosines: dict[int, float] = {}
    best: dict[int, dict[int, tuple[bool, bool | None]]] = {}
    for case, known in answers.items():
        measured = outputs[case]
        if isinstance(measured, str) or len(measured) != len(known.true):
            continue
        for index, (output, true) in enumerate(zip(measured, known.true, strict=True)):
            if output.shape == true.shape and true.dtype.is_floating_point and true.numel():
                cosines[index] = min(cosine(output, true), cosines.get(index, 1.0))
                if true.dim() == 2 and true.shape[1] > 1:
                    verdicts = zip(_rows(case, len(true)), _same_best(output, true), strict=True)
                    best.setdefault(index, {}).update(verdicts)
    for index, name in enumerate(names):
        of = f" of {name}" if len(names) > 1 else ""
        if rows := best.get(index):
            facts[f"top-1 agreement{of}"] = _share([one for one, _ in rows.values()])
            if fives := [five for _, five in rows.values() if five is not None]:
                facts[f"top-5 agreement{of}"] = _share(fives)
        if index in cosines:
            facts[f"cosine similarity{of}"] = f"{cosines[index]:.9f}"
    return facts


def agreement_checks(
    names: Sequence[str],
    answers: Mapping[Case, Answers],
    outputs: Mapping[Case, Outputs],
    least: float,
) -> list[Check]:
    """Return a check for each output of shape (N, classes): the best class of the given rows.

    Args:
        names: of the outputs.
        answers: the model's, by case.
        outputs: the file's.
        least: the share of rows that must have the same best class.

    Raises:
        ExportError: no output has classes.
    """
    best: dict[int, dict[int, bool]] = {}
    for case, known in answers.items():
        measured = outputs[case]
        if not case.given or isinstance(measured, str):
            continue
        for index, (output, true) in enumerate(zip(measured, known.true, strict=False)):
            if output.shape == true.shape and true.dim() == 2 and true.shape[1] > 1:
                same = (one for one, _ in _same_best(output, true))
                rows = zip(_rows(case, len(true)), same, strict=True)
                best.setdefault(index, {}).update(rows)
    if not best:
        raise ExportError(
            "agreement: no output is of shape (N, classes), so that no row has a best class; "
            "leave it out, and give a tolerance"
        )
    shares = {index: sum(rows.values()) / len(rows) for index, rows in best.items()}
    return [
        Check("given rows", names[index], "top-1", 1 - share, 1 - least, share >= least)
        for index, share in shares.items()
    ]


def cosine(output: Tensor, true: Tensor) -> float:
    """Return the cosine of the angle between two tensors, in float64; two zeros agree."""
    x, y = output.double().flatten(), true.double().flatten()
    sizes = float(x.norm() * y.norm())
    if sizes == 0:
        return float(torch.equal(x, y))
    return float(x @ y) / sizes


def _same_best(output: Tensor, true: Tensor) -> list[tuple[bool, bool | None]]:
    """Tell for each row whether the best class is the same, and whether the best five are."""
    ones = (output.argmax(1) == true.argmax(1)).tolist()
    if true.shape[1] < _MANY:
        return [(one, None) for one in ones]
    fives = [t.topk(5, 1).indices.sort(1).values for t in (output, true)]
    return list(zip(ones, (fives[0] == fives[1]).all(1).tolist(), strict=True))


def _rows(case: Case, size: int) -> Sequence[int]:
    """Return which rows of the pool the rows of an output belong to, else their own numbers."""
    return case.rows if len(case.rows) == size else range(size)


def _share(verdicts: Sequence[bool]) -> str:
    return f"{sum(verdicts) / len(verdicts):.1%} of {len(verdicts)} rows"
