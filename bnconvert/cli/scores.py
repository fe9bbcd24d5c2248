"""The loss and the metric of a classifier, for data with labels."""

from collections.abc import Callable
from typing import Any

Labels = Callable[[Any], Any]
Score = Callable[[Any, Any], Any]


def cross_entropy(labels: Labels) -> Score:
    """Return the loss of a batch: the mean cross entropy of its logits."""

    def score(output: Any, batch: Any) -> Any:
        from torch.nn import functional as F

        wanted = labels(batch)
        return F.cross_entropy(output.float(), wanted.to(output.device).long())

    return score


def error(labels: Labels) -> Score:
    """Return the metric of a batch: the share of wrong classes."""

    def score(output: Any, batch: Any) -> Any:
        return (output.argmax(1) != labels(batch).to(output.device)).double().mean()

    return score
