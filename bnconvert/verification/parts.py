"""Judge each channel, each row and the small values of an output against their own size.

An error of a tenth in a channel that is a millionth of the largest is nothing to the output as a
whole. How near each part must be is known from the model's own error there. Where a part of few
numbers was off by less by chance, further roundings are drawn before it is called wrong.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnconvert.numerics.distance import ULPS

#: As small a group of values may be, so that their error in one run says something.
_GROUP = 16
#: Values are grouped by powers of ten of their size, down to this one.
_SMALLEST = -12


@dataclass(frozen=True, eq=False)
class Partition:
    """A division of an output into parts.

    Attributes:
        kind: what a part is, for messages.
        sizes: the root mean square of each part, in order, of the squares of a tensor of the
            output's shape.
        count: of how many numbers the smallest part consists.
    """

    kind: str
    sizes: Callable[[Tensor], Tensor]
    count: int


@dataclass(frozen=True)
class WrongPart:
    """A part of an output that is wrong.

    Attributes:
        name: which part.
        error: its root mean square error, relative to its size.
        allowed: how large that may be.
    """

    name: str
    error: float
    allowed: float


def wrong_part(
    value: Tensor,
    truth: Tensor,
    own: Sequence[Tensor],
    perturbed: Iterable[Tensor],
    *,
    factor: float,
    whole: float,
    bounded: bool,
    roundings: float = 1.0,
    partial: bool = False,
) -> WrongPart | None:
    """Return the part of an output that is worst, if any is wrong.

    Args:
        value: the file's output.
        truth: the output in float64.
        own: the model's own outputs in its dtype, of the same shape.
        perturbed: its outputs where roundings are drawn otherwise, as large as a file may err;
            they are computed when they are asked for.
        factor: how many times the model's own error a file may have.
        whole: the relative error that the output as a whole may have; a part may have it too.
        bounded: whether a function bounded by 1 computed it, which kernels round relative to 1.
        roundings: how many times what rounding to the dtype may cause is allowed besides.
        partial: whether rows of `truth` are the model's own; `whole` is a share of the limit then.
    """
    if not truth.dtype.is_floating_point or not truth.numel() or value.shape != truth.shape:
        return None
    alike = [_gap(output, truth) for output in own if output.shape == truth.shape]
    if not alike:
        return None
    if whole >= 1:
        return None  # nothing is known of the output as a whole, and less of its parts
    gap, squares = _gap(value, truth), _squares(truth)
    eps = float(torch.finfo(value.dtype).eps) if value.is_floating_point() else 0.0
    # The unknown error of these rows may add to the file's, and hide as much of a perturbed run's.
    of_own, of_perturbed = (1 - 1 / factor, (factor - 1) / (factor + 1)) if partial else (1.0, 1.0)
    for partition in _partitions(truth):
        size, error = partition.sizes(squares), partition.sizes(gap)
        rounding = roundings * eps * (ULPS * size + bounded)
        known = torch.stack([partition.sizes(one) for one in alike]).amax(0)
        allowed = of_own * (factor * (1 + 4 / partition.count) * known + rounding)
        allowed = torch.maximum(allowed, whole * size)
        further = iter(perturbed)
        while (error > allowed).any():
            output = next(further, None)
            if output is None:
                return _worst(partition, size, error, allowed)
            if output.shape == truth.shape:
                drawn = partition.sizes(_gap(output, truth)) + rounding
                allowed = torch.maximum(allowed, of_perturbed * drawn)
    return None


def _worst(partition: Partition, size: Tensor, error: Tensor, allowed: Tensor) -> WrongPart:
    """Describe the part that exceeds what is allowed most."""
    place = int((error / allowed.clamp(min=1e-300)).argmax())
    scale = float(size[place]) or 1.0
    name = f"{partition.kind} {place}" if len(size) > 1 else partition.kind
    return WrongPart(name, float(error[place]) / scale, float(allowed[place]) / scale)


def _gap(value: Tensor, truth: Tensor) -> Tensor:
    """Return the squared difference; where either is not finite it counts for nothing."""
    return _squares(value.double() - truth.double())


def _squares(tensor: Tensor) -> Tensor:
    return tensor.double().nan_to_num(posinf=0.0, neginf=0.0).square()


def _partitions(truth: Tensor) -> Iterator[Partition]:
    """Yield the divisions of an output: into rows, into channels, and its small values."""
    if truth.dim() > 1:
        for kind, axis in (("row", 0), ("channel", 1)):
            if truth.shape[axis] > 1:
                yield _along(kind, axis, truth)
    if truth.numel() >= 2 * _GROUP:
        yield from _groups(truth)


def _along(kind: str, axis: int, truth: Tensor) -> Partition:
    others = [other for other in range(truth.dim()) if other != axis]
    count = truth.numel() // truth.shape[axis]
    return Partition(kind, lambda squares: squares.mean(others).sqrt(), count)


def _groups(truth: Tensor) -> Iterator[Partition]:
    """Yield the values below each power of ten of the output's size, where they are enough."""
    sizes = truth.double().abs().nan_to_num(posinf=0.0).flatten()
    typical = float(sizes.square().mean().sqrt())
    before = sizes.numel()
    for power in range(-1, _SMALLEST, -1):
        small = (sizes > 0) & (sizes < typical * 10.0**power)
        count = int(small.sum())
        if count < _GROUP:
            return
        if count < before:
            before = count
            yield _below(power, small, count)


def _below(power: int, small: Tensor, count: int) -> Partition:
    def sizes(squares: Tensor) -> Tensor:
        return squares.flatten()[small].mean().sqrt().reshape(1)

    return Partition(f"values below 1e{power} of the output's size", sizes, count)
