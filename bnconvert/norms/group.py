"""Group: each sample is normalized by itself, in groups of channels; no batch is involved.

y = gamma * (x - mu_g) / sqrt(var_g + eps) + beta, with the mean and biased variance of the
channel group g over its channels and all positions of one sample (Wu and He, "Group
Normalization", 2018, eq. 1-4 and 7). It is another function than batch norm: a network that
was trained with batch norm must be trained on.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.modules.surgery import plain_group_norm


class GroupedNorm(Normalization):
    """Group norm that replaced a batch norm; it keeps the running statistics only for `revert`.

    Attributes:
        groups: the number of channel groups.
    """

    added_names: ClassVar[tuple[str, ...]] = ("groups",)

    groups: int

    @property
    def is_batch_norm_in_eval(self) -> bool:
        """Group norm never is."""
        return False

    def normalize(self, x: Tensor) -> Tensor:
        """Normalize each sample of `x` by the moments of its channel groups.

        Raises:
            ValueError: a group holds a single value, which normalizes to zero whatever it is.
        """
        if x.shape[1] // self.groups * math.prod(x.shape[2:]) == 1:
            raise ValueError(
                f"input of shape {tuple(x.shape)} leaves a single value in each of "
                f"{self.groups} groups; convert this norm with fewer groups or Keep()"
            )
        return F.group_norm(x, self.groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the groups and the hyperparameters."""
        return f"{self.groups} groups, {self.settings()}"


@dataclass(frozen=True)
class Group(Replacement):
    """Use group norm with the batch norm's gamma, beta and eps. Changes the function.

    Shape: (N, C, *) to the same; C must divide by `groups`. Source: Wu and He, "Group
    Normalization", 2018.

    Args:
        groups: how many groups the channels are divided into.
        plain: whether to make exactly an `nn.GroupNorm`, for tools that know torch's own classes
            only, such as opacus. The running statistics are lost: batch norm checkpoints no
            longer load strictly, and `revert` leaves it as it is.

    Raises:
        ValueError: `groups` is less than 1.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm2d(4), bnc.Group(2))
        >>> x = torch.randn(3, 4, 8, 8)
        >>> torch.allclose(norm(x)[:1], norm(x[:1]))  # a sample does not depend on its batch
        True
        >>> bnc.convert(nn.BatchNorm2d(4), bnc.Group(2, plain=True))
        GroupNorm(2, 4, eps=1e-05, affine=True...)
    """

    groups: int = 32
    plain: bool = False

    preserves_eval: ClassVar[bool] = False
    norm: ClassVar[type[Normalization]] = GroupedNorm

    def __post_init__(self) -> None:
        """Check the argument."""
        if self.groups < 1:
            raise ValueError(f"Group: groups is {self.groups}; use a positive number of groups")

    def __repr__(self) -> str:
        """Return the source code."""
        return f"Group(groups={self.groups}{', plain=True' * self.plain})"

    @property
    def keeps_batch_norm_state(self) -> bool:
        """Torch's own group norm has no place for it."""
        return not self.plain

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the number of groups."""
        return {"groups": self.groups}

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse what does not divide, groups of a single value, and what would be lost."""
        if self.plain and (dropped := site.kind.children_after):
            fact = f"calls {' and '.join(dropped)} after it has normalized; nn.GroupNorm cannot"
            return Refusal("own-forward", fact, f"use Group({self.groups}) or Keep()")
        if _is_legal(self.groups, site):
            return None
        remedy = f"use {self._legal_choices(site)}"
        if site.channels % self.groups:
            fact = f"{site.channels} channels do not divide into {self.groups} groups"
            return Refusal("channels-not-divisible", fact, remedy)
        fact = f"each of {self.groups} groups would hold a single value on (N, C) input"
        return Refusal("one-value-per-group", fact, remedy)

    def caution(self, site: Site) -> str | None:
        """Warn that this is another function."""
        changed = "CHANGES THE FUNCTION: group norm is not batch norm; the model must be trained"
        if not self.plain:
            return changed
        return (
            f"{changed}. CANNOT BE UNDONE: nn.GroupNorm holds no running statistics, so that batch "
            "norm checkpoints no longer load strictly and revert() leaves it"
        )

    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build one module for all of the norm's paths."""
        if not self.plain:
            return super().edits(site)
        return dict.fromkeys(site.paths, plain_group_norm(site.module, self.groups))

    def _legal_choices(self, site: Site) -> str:
        """Return the rewrites to use instead: the next smaller legal number of groups, or Keep."""
        legal = [n for n in range(1, self.groups) if _is_legal(n, site)]
        plain = ", plain=True" * self.plain
        return f"Group({legal[-1]}{plain}) or Keep()" if legal else "Keep()"


def _is_legal(groups: int, site: Site) -> bool:
    """Tell whether the channels divide, and leave two values where there are no positions."""
    may_be_flat = issubclass(site.kind.plain_class, nn.BatchNorm1d)
    return site.channels % groups == 0 and not (may_be_flat and site.channels == groups)
