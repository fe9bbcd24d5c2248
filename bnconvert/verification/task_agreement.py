"""How far a file decides as its model does: the same best class, the same mask, the same boxes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

#: Two boxes are the same from this ratio of their intersection to their union on.
SAME_BOX = 0.9
#: By the number of axes of an output of scores, whose axis 1 holds the classes: figure and unit.
_SCORES = {2: ("top-1 agreement", "samples"), 4: ("mask agreement", "pixels")}


@dataclass
class TaskAgreement:
    """Counts over the outputs of many batches.

    Attributes:
        same: by figure: how many decisions are the same.
        all: by figure: how many there are.
    """

    same: Counter[str] = field(default_factory=Counter)
    all: Counter[str] = field(default_factory=Counter)

    def add(self, names: Sequence[str], outputs: Sequence[Tensor], true: Sequence[Tensor]) -> None:
        """Count one batch.

        Args:
            names: of the outputs.
            outputs: the file's.
            true: the model's.
        """
        boxes = _boxes(true)
        scored = [
            index
            for index, value in enumerate(true)
            if index != boxes and value.dim() in _SCORES and value.shape[1] > 1
        ]
        for index in scored:
            name, output, value = names[index], outputs[index], true[index]
            if value.shape == output.shape:
                figure, unit = _SCORES[value.dim()]
                of = f" of {name}" if len(scored) > 1 else ""
                agrees = output.argmax(1) == value.argmax(1)
                self._count(f"{figure}{of}, {unit}", int(agrees.sum()), agrees.numel())
        if boxes is not None:
            mine, theirs = true[boxes], outputs[boxes]
            self._count("box agreement, boxes", _found(mine, theirs), len(mine))

    def facts(self) -> dict[str, str]:
        """Return each figure as a share, with how many decisions it is of."""
        return {
            figure.partition(", ")[0]: f"{self.same[figure] / self.all[figure]:.2%} of "
            f"{self.all[figure]} {figure.partition(', ')[2]}"
            for figure in self.all
            if self.all[figure]
        }

    def _count(self, figure: str, same: int, everything: int) -> None:
        self.same[figure] += same
        self.all[figure] += everything


def _boxes(outputs: Sequence[Tensor]) -> int | None:
    """Return which output is a detector's boxes, (number, 4), beside as many whole labels."""
    labelled = {t.shape[0] for t in outputs if t.dim() == 1 and not t.is_floating_point()}
    for index, value in enumerate(outputs):
        is_labelled = value.dim() == 2 and value.shape[1] == 4 and value.shape[0] in labelled
        # Corners (x1, y1, x2, y2) are in order, which four scores are not.
        if is_labelled and bool((value[:, 2:] >= value[:, :2]).all()):
            return index
    return None


def _found(boxes: Tensor, others: Tensor) -> int:
    """Return how many boxes (x1, y1, x2, y2) are among the others."""
    if not len(boxes) or others.dim() != 2 or not len(others):
        return 0
    a, b = boxes.double()[:, None], others.double()[None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    both = sides.prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return int((both / union.clamp(min=torch.finfo(union.dtype).tiny)).amax(1).ge(SAME_BOX).sum())
