"""The moments of a tensor's channels: count, mean and M2 in float64, and their exact merge."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations of each channel.

    One value type for batches, threads and ranks: `merge` combines any two of them exactly.

    Attributes:
        count: how many values each channel has.
        mean: shape (C,), float64.
        M2: shape (C,), float64: the sum over the values of (x - mean)^2.
    """

    count: int
    mean: Tensor
    M2: Tensor

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both sets of values together.

        With delta = mean_b - mean_a and n = n_a + n_b:
        mean = mean_a + delta * n_b / n and M2 = M2_a + M2_b + delta^2 * n_a * n_b / n
        (Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm", 1979).

        Raises:
            ValueError: the channel counts differ.
        """
        if self.mean.shape != other.mean.shape:
            raise ValueError(
                f"moments of {self.mean.numel()} and of {other.mean.numel()} channels do not "
                "merge; merge moments of one norm only"
            )
        count = self.count + other.count
        if count == 0:
            return self
        delta = other.mean - self.mean
        share = other.count / count
        return Moments(
            count=count,
            mean=self.mean + delta * share,
            M2=self.M2 + other.M2 + delta.square() * (self.count * share),
        )

    def biased_variance(self) -> Tensor:
        """Return M2 / count, the population variance with which batch norm normalizes.

        Raises:
            ValueError: there are no values.
        """
        return self._variance(0)

    def unbiased_variance(self) -> Tensor:
        """Return M2 / (count - 1), the sample variance that torch keeps in running_var.

        Raises:
            ValueError: there are fewer than two values per channel.
        """
        return self._variance(1)

    def _variance(self, correction: int) -> Tensor:
        if self.count <= correction:
            raise ValueError(
                f"the variance of {self.count} values per channel is undefined; "
                f"give at least {correction + 1}"
            )
        return self.M2 / (self.count - correction)


def moments(x: Tensor, channel_axis: int = 1) -> Moments:
    """Measure the moments of `x` over all axes but `channel_axis`.

    Two passes in float64 (the mean first, then the deviations), so that a large mean does not
    cancel a small variance. An empty batch gives count 0, mean 0 and M2 0.

    Args:
        x: any floating dtype, any number of axes, any memory format.
        channel_axis: the axis that is kept.
    """
    values = x.detach().to(torch.float64).movedim(channel_axis, 0).flatten(1)
    channels, count = values.shape
    if count == 0:
        nothing = values.new_zeros(channels)
        return Moments(0, nothing, nothing.clone())
    mean = values.mean(dim=1)
    return Moments(count, mean, (values - mean[:, None]).square().sum(dim=1))
