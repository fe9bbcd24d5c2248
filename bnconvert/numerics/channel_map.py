"""A scale and a shift per channel, broadcast against a value: what a norm is in eval mode.

In eval, y = gamma * (x - mu) / sqrt(var + eps) + beta is y = scale * x + shift with
scale = gamma / sqrt(var + eps) and shift = beta - mu * scale (Ioffe and Szegedy, "Batch
Normalization", 2015, algorithm 2, step 11). Everything is float64.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """The map y = scale * x + shift.

    Attributes:
        scale: float64, with as many axes as the value; size 1 along every axis on which it
            does not depend.
        shift: likewise.
    """

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, scale: Tensor, shift: Tensor) -> "ChannelMap":
        """Return the map, with axes on which its numbers do not depend reduced to size 1."""
        return cls(reduced(scale.double()), reduced(shift.double()))

    @classmethod
    def on_axis(cls, scale: Tensor, shift: Tensor, axis: int, axes: int) -> "ChannelMap":
        """Return the map with vectors of shape (C,) along `axis` of a value of `axes` axes."""
        shape = [1] * axes
        shape[axis] = -1
        return cls.of(scale.reshape(shape), shift.reshape(shape))

    @classmethod
    def identity(cls, axes: int) -> "ChannelMap":
        """Return the map that changes nothing."""
        return cls(_filled(1, axes), _filled(0, axes))

    @property
    def axes(self) -> int:
        """The number of axes of the values that it maps."""
        return self.scale.dim()

    @property
    def scales(self) -> bool:
        """Whether it multiplies by anything but 1."""
        return bool((self.scale != 1).any())

    @property
    def shifts(self) -> bool:
        """Whether it adds anything but 0."""
        return bool((self.shift != 0).any())

    @property
    def steps(self) -> int:
        """The number of operations that it takes: multiplication, addition, both or neither."""
        return self.scales + self.shifts

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return not self.scales and not self.shifts

    @property
    def is_finite(self) -> bool:
        """Whether every scale and shift is a finite number."""
        return bool(torch.isfinite(self.scale).all() and torch.isfinite(self.shift).all())

    def is_finite_in(self, dtype: torch.dtype) -> bool:
        """Tell whether every scale and shift is still finite once it is rounded to `dtype`."""
        return all(bool(torch.isfinite(part.to(dtype)).all()) for part in (self.scale, self.shift))

    def is_within(self, factor: float) -> bool:
        """Tell whether every scale but 0 lies between 1 / factor and factor, whatever its sign."""
        sizes = self.scale[self.scale != 0].abs()
        return bool(((sizes <= factor) & (sizes >= 1 / factor)).all())

    @property
    def is_positive(self) -> bool:
        """Whether it keeps the order of numbers: every scale is above zero."""
        return bool((self.scale > 0).all())

    def after(self, first: "ChannelMap") -> "ChannelMap":
        """Return this map of the other's result: s (s' x + t') + t."""
        return ChannelMap.of(self.scale * first.scale, self.scale * first.shift + self.shift)

    def scaling(self) -> "ChannelMap":
        """Return its multiplication alone."""
        return ChannelMap(self.scale, _filled(0, self.axes))

    def shifting(self) -> "ChannelMap":
        """Return its addition alone, as it comes after the multiplication."""
        return ChannelMap(_filled(1, self.axes), self.shift)

    def shifting_first(self) -> "ChannelMap | None":
        """Return the addition of t / s that may come before the multiplication; None if s is 0."""
        if bool((self.scale == 0).any()):
            return None
        return ChannelMap.of(torch.ones_like(self.scale), self.shift / self.scale)

    def mirrored(self) -> "ChannelMap":
        """Return the addition of -t, which takes back what `shifting` adds."""
        return ChannelMap(_filled(1, self.axes), -self.shift)

    def each(self, change: Callable[[Tensor], Tensor]) -> "ChannelMap":
        """Return the map with `change` done to scale and to shift."""
        return ChannelMap.of(change(self.scale), change(self.shift))

    def lifted(self, axes: int) -> "ChannelMap":
        """Return the same map for a value with further leading axes."""
        missing = [1] * (axes - self.axes)
        return self.each(lambda t: t.reshape(missing + list(t.shape)))

    def varies_along(self, axis: int) -> bool:
        """Tell whether it depends on the position along `axis`."""
        return self.scale.shape[axis] > 1 or self.shift.shape[axis] > 1

    def vectors(self, axis: int, size: int) -> tuple[Tensor, Tensor] | None:
        """Return scale and shift of shape (size,) along `axis`; None if they vary elsewhere."""
        if any(self.varies_along(other) for other in range(self.axes) if other != axis % self.axes):
            return None
        scale, shift = self.scale.flatten().expand(size), self.shift.flatten().expand(size)
        return scale, shift

    def widened(self, axis: int, size: int) -> "ChannelMap":
        """Return the same map with `size` numbers along `axis`, unreduced."""

        def wide(tensor: Tensor) -> Tensor:
            shape = list(tensor.shape)
            shape[axis] = size
            return tensor.expand(shape)

        return ChannelMap(wide(self.scale), wide(self.shift))


def reduced(tensor: Tensor) -> Tensor:
    """Reduce every axis along which all numbers are alike to size 1."""
    for axis, size in enumerate(tensor.shape):
        if size > 1:
            first = tensor.narrow(axis, 0, 1)
            if bool((tensor == first).all()):
                tensor = first
    return tensor


def _filled(value: float, axes: int) -> Tensor:
    """Return a number as a tensor of so many axes."""
    return torch.full([1] * axes, value, dtype=torch.float64, device="cpu")
