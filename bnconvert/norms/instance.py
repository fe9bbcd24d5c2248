"""Instance: each channel of each sample is normalized by itself; no batch is involved.

y = gamma * (x - mu) / sqrt(var + eps) + beta, with the mean and biased variance of one channel
over the positions of one sample (Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016,
eq. 2). It is group norm with as many groups as channels, and another function than batch norm:
a network that was trained with batch norm must be trained on.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.norms.group import Group, GroupedNorm


class PerInstanceNorm(GroupedNorm):
    """Instance norm that replaced a batch norm; it keeps the running statistics for `revert`."""

    def extra_repr(self) -> str:
        """Return what is normalized, and the hyperparameters."""
        return f"by sample and channel, {self.settings()}"


@dataclass(frozen=True)
class Instance(Replacement):
    """Use instance norm with the batch norm's gamma, beta and eps. Changes the function.

    Shape: (N, C, *) to the same. Source: Ulyanov, Vedaldi and Lempitsky, "Instance
    Normalization", 2016, equation 2.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm2d(4), bnc.Instance())
        >>> y = norm(torch.randn(3, 4, 8, 8) * 2 + 5)  # whatever mean and scale an image has
        >>> torch.allclose(y.mean(dim=(2, 3)), torch.zeros(3, 4), atol=1e-5)
        True
    """

    preserves_eval: ClassVar[bool] = False
    norm: ClassVar[type[Normalization]] = PerInstanceNorm

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the number of groups: a channel each."""
        return {"groups": site.channels}

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse channels that may hold a single value of a sample, as `Group` does."""
        return Group(site.channels).why_not(site)

    def caution(self, site: Site) -> str | None:
        """Warn that this is another function."""
        return "CHANGES THE FUNCTION: instance norm is not batch norm; the model must be trained"
