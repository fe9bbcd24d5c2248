"""Scores: the loss or metric of batches or samples, their means, and how certain these are."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, isnan
from typing import Any, Literal

import torch
from torch import Tensor

from bnconvert.errors import StatisticsError
from bnconvert.numerics.bootstrap import mean_interval
from bnconvert.reporting.records import ScoreInterval

_WORSE = 0.25  # a score is worse where its whole interval is by this share


@dataclass(frozen=True, eq=False)
class BatchScores:
    """The scores of one batch; the smaller, the better.

    Attributes:
        values: shape (k,), float64: one for each sample, or one that is the batch's mean.
        samples: how many samples the batch has.
    """

    values: Tensor
    samples: int

    @property
    def weights(self) -> Tensor:
        """How many samples each value stands for."""
        return torch.full_like(self.values, self.samples / len(self.values))


#: By the index of the batch.
Scores = Mapping[int, BatchScores]


def scores_of(name: str, result: Any, samples: int | None) -> BatchScores:
    """Return what a score function returned for a batch: a number, or a value for each sample.

    Args:
        name: of the score, "loss" or "metric".
        result: a number; or a tensor, an array or a list, whose first axis is that of the samples
            and whose other axes are averaged.
        samples: how many samples the batch has, as far as it tells.

    Raises:
        StatisticsError: there are several numbers, and not one for each sample.
    """
    values = torch.as_tensor(result).detach().to("cpu", torch.float64)
    if values.numel() == 1:
        return BatchScores(values.reshape(1), samples or 1)
    if not values.dim() or not values.numel() or len(values) != (samples or len(values)):
        raise StatisticsError(
            f"{name} returned values of shape {tuple(values.shape)} for {samples} samples; return "
            "one number for the batch, or one for each sample"
        )
    return BatchScores(values.flatten(1).mean(1) if values.dim() > 1 else values, len(values))


def mean_of(scores: Scores) -> float:
    """Return the mean score of a sample; NaN where there is none."""
    values, weights = _joined(scores)
    return float((values * weights).sum() / weights.sum()) if len(values) else float("nan")


def is_worse(scores: Scores, others: Scores) -> bool:
    """Tell whether scores are worse than others on the same data, by a quarter, for certain.

    The scores are paired, and the whole 99 % interval of the mean difference must exceed a
    quarter of the other score. Where there are too few for an interval, nothing is certain but
    that a NaN is worse than a number.
    """
    scores, others = _paired(scores, others)
    if not scores:
        return False
    score, other = mean_of(scores), mean_of(others)
    if not isfinite(score):
        return not isnan(other) and (isnan(score) or score > other)
    interval = mean_interval(*_difference(scores, others))
    return interval is not None and interval[0] > _WORSE * abs(other)


def intervals_of(name: str, by_statistics: Mapping[str, Scores]) -> tuple[ScoreInterval, ...]:
    """Return how certain a score is under each kind of statistics, and running minus precise.

    Args:
        name: of the score.
        by_statistics: the scores by what normalized, "running" and "precise" among them.
    """
    of = {used: _joined(scores) for used, scores in by_statistics.items()}
    running, precise = _paired(by_statistics["running"], by_statistics["precise"])
    of["running - precise"] = _difference(running, precise)
    whole = all(len(b.values) == b.samples for by in by_statistics.values() for b in by.values())
    unit: Literal["sample", "batch"] = "sample" if whole else "batch"
    return tuple(_interval(name, used, *scored, unit) for used, scored in of.items())


def _interval(
    name: str, used: str, values: Tensor, weights: Tensor, unit: Literal["sample", "batch"]
) -> ScoreInterval:
    mean = float((values * weights).sum() / weights.sum()) if len(values) else float("nan")
    low, high = mean_interval(values, weights) or (None, None)
    return ScoreInterval(name, used, mean, low, high, unit, len(values))


def _joined(scores: Scores) -> tuple[Tensor, Tensor]:
    """Return the values of all batches in order, and their weights."""
    batches = [scores[index] for index in sorted(scores)]
    if not batches:
        return torch.zeros(0, dtype=torch.float64, device="cpu"), torch.zeros(
            0, dtype=torch.float64, device="cpu"
        )
    return torch.cat([b.values for b in batches]), torch.cat([b.weights for b in batches])


def _paired(scores: Scores, others: Scores) -> tuple[Scores, Scores]:
    """Return the batches that both have, with as many values."""
    common = sorted(scores.keys() & others.keys())
    common = [i for i in common if len(scores[i].values) == len(others[i].values)]
    return {i: scores[i] for i in common}, {i: others[i] for i in common}


def _difference(scores: Scores, others: Scores) -> tuple[Tensor, Tensor]:
    """Return the differences of paired scores, and their weights."""
    (values, weights), (other_values, _) = _joined(scores), _joined(others)
    return values - other_values, weights
