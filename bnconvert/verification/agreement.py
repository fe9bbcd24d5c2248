"""How far answers agree that are reported, not judged: the best classes, and directions."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bnconvert.verification.cases import Case
from bnconvert.verification.tolerance import Answers

_MANY = 10  # so many classes, and the best five mean something
Outputs = list[Tensor] | str


def agreement(
    names: Sequence[str], answers: Mapping[Case, Answers], outputs: Mapping[Case, Outputs]
) -> dict[str, str]:
    """Return the facts about every floating-point output, its shapes being the model's.

    The cosine similarity is the worst over all inputs. Of (N, classes), the share of rows whose
    best class, and whose best five of ten or more in any order, are those of the float64 model.
    """
    facts: dict[str, str] = {}
    cosines: dict[int, float] = {}
    best: dict[int, dict[int, tuple[bool, bool | None]]] = {}
    for case, known in answers.items():
        measured = outputs[case]
        if isinstance(measured, str) or len(measured) != len(known.true):
            continue
        for index, (mine, true) in enumerate(zip(measured, known.true, strict=True)):
            if mine.shape == true.shape and true.dtype.is_floating_point and true.numel():
                cosines[index] = min(cosine(mine, true), cosines.get(index, 1.0))
                if true.dim() == 2 and true.shape[1] > 1:
                    verdicts = zip(_rows(case, len(true)), _same_best(mine, true), strict=True)
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


def cosine(mine: Tensor, true: Tensor) -> float:
    """Return the cosine of the angle between two tensors, in float64; two zeros agree."""
    x, y = mine.double().flatten(), true.double().flatten()
    sizes = float(x.norm() * y.norm())
    if sizes == 0:
        return float(torch.equal(x, y))
    return float(x @ y) / sizes


def _same_best(mine: Tensor, true: Tensor) -> list[tuple[bool, bool | None]]:
    """Tell of each row whether the best class is the same, and whether the best five are."""
    ones = (mine.argmax(1) == true.argmax(1)).tolist()
    if true.shape[1] < _MANY:
        return [(one, None) for one in ones]
    fives = [t.topk(5, 1).indices.sort(1).values for t in (mine, true)]
    return list(zip(ones, (fives[0] == fives[1]).all(1).tolist(), strict=True))


def _rows(case: Case, size: int) -> Sequence[int]:
    """Return which rows of the pool the rows of an output belong to, else their own numbers."""
    return case.rows if len(case.rows) == size else range(size)


def _share(verdicts: Sequence[bool]) -> str:
    return f"{sum(verdicts) / len(verdicts):.1%} of {len(verdicts)} rows"
