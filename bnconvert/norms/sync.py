"""Sync: in training, the batch is that of all ranks together.

Each rank sums its own values; one all-reduce of 2C + 1 numbers (count, sum of x, sum of x^2, in
float64, per channel) gives every rank the moments of all of them, and one of 2C brings their
gradient back (Peng et al., "MegDet", 2018, section 3.3; Wu and Johnson, 2021, section 2). Ranks
may have batches of different sizes and shapes, or none. `running_var` is unbiased with the global
count, as one process with the whole batch would keep it. Without a process group, or alone in it,
it is plain batch norm.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, distributed as dist

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.replacement import Replacement
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import TrackingNorm, unbiased
from bnconvert.numerics.reduced import reduced_batch_norm
from bnconvert.numerics.slices import whole
from bnconvert.torch_private.process_groups import process_group_named


class SyncNorm(TrackingNorm):
    """Batch norm over all ranks in training, on any device, by any backend.

    Attributes:
        group_name: the name of the process group, which copies and pickles where the group
            itself does not; None for the default group.
    """

    added_names: ClassVar[tuple[str, ...]] = ("group_name",)

    group_name: str | None

    def normalize_by_batch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Normalize by the moments of all ranks' values; every rank must call it."""
        group = group_of(self.group_name)
        if group is None:
            return self.normalize_by_whole_batch(x, weight, bias)
        rows = [None if a is None else a.unsqueeze(0) for a in (weight, bias)]
        reduce = partial(dist.all_reduce, group=group)
        y, count, mean, var = reduced_batch_norm(x, rows[0], rows[1], self.eps, whole(x), reduce)
        self.track(mean[0], unbiased(var, count)[0], count[0, 0] > 0)
        return y

    def extra_repr(self) -> str:
        """Return the group and the hyperparameters."""
        return f"group={self.group_name or 'default'}, {super().extra_repr()}"


def group_of(name: str | None) -> Any:
    """Return the process group to reduce over; None where this process is alone.

    Raises:
        RuntimeError: there is no group of that name in this process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    group: Any = dist.group.WORLD
    if name is not None:
        group = process_group_named(name)
    return group if dist.get_world_size(group) > 1 else None


@dataclass(frozen=True)
class Sync(Replacement):
    """Normalize by the batches of all ranks together in training.

    Shape: (N, C, *) to the same; N may differ between ranks, and be 0. Source: Peng et al.,
    "MegDet", 2018, section 3.3.

    Args:
        process_group: the ranks, as from `torch.distributed.new_group`; None for the group that a
            torch SyncBatchNorm already has, or else all ranks.

    Examples:
        >>> bnc.convert(nn.BatchNorm2d(8), bnc.Sync())
        SyncNorm(group=default, 8, eps=1e-05, momentum=0.1, affine=True, ...)
    """

    process_group: Any = field(default=None, hash=False)

    preserves_eval: ClassVar[bool] = True
    norm: ClassVar[type[Normalization]] = SyncNorm

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse a group that this rank is not in: it would wait for all ranks instead."""
        group = self._group_for(site)
        if group is None or isinstance(getattr(group, "group_name", None), str):
            return None
        return Refusal(
            "no-process-group",
            f"{group!r} is no process group that this rank is in",
            "use Sync(torch.distributed.group.WORLD), or a group of this rank",
        )

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the name of the group."""
        if self.process_group is None and isinstance(site.module, SyncNorm):
            return {"group_name": site.module.group_name}
        return {"group_name": getattr(self._group_for(site), "group_name", None)}

    def _group_for(self, site: Site) -> Any:
        """Return the group that was given, or that the norm has of its own."""
        own = getattr(site.module, "process_group", None)
        return own if self.process_group is None else self.process_group
