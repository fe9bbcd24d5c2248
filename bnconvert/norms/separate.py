"""Separate: one set of running statistics per domain, and one weight and bias if asked for.

Batches of different domains (source and target, clean and adversarial, the levels of a feature
pyramid) have different statistics, and an average of them fits neither (Wu and Johnson, 2021,
section 5; Chang et al., "Domain-Specific Batch Normalization", 2019; Xie et al., "Adversarial
Examples Improve Image Recognition", 2020, for an auxiliary set). Each domain is a norm of its
own, of any kind in `EACH`: the first has batch norm's own keys, the others lie in
`bnconvert.domains.<name>`. `switches.domain` chooses; without a choice it is the first.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from bnconvert.errors import Refusal
from bnconvert.modules.normalization import Extras, Normalization
from bnconvert.modules.replacement import Replacement, build, needs_running_statistics
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.site import Site
from bnconvert.modules.tracking import TrackingNorm
from bnconvert.norms.ghost import Ghost, GhostNorm
from bnconvert.norms.keep import Keep
from bnconvert.norms.renorm import Renorm, RenormNorm
from bnconvert.norms.separate_norm import SeparateNorm
from bnconvert.norms.sync import Sync, SyncNorm
from bnconvert.torch_private.module_hooks import drop_hooks


class SeparateGhostNorm(SeparateNorm, GhostNorm):
    """Separate statistics, each by ghost batches."""


class SeparateRenormNorm(SeparateNorm, RenormNorm):
    """Separate statistics, each by batch renormalization."""


class SeparateSyncNorm(SeparateNorm, SyncNorm):
    """Separate statistics, each over all ranks."""


#: By the rewrite in `each`: the class of the norm with domains, and that of each further domain.
EACH: dict[type[Rewrite], tuple[type[SeparateNorm], type[TrackingNorm]]] = {
    Keep: (SeparateNorm, TrackingNorm),
    Ghost: (SeparateGhostNorm, GhostNorm),
    Renorm: (SeparateRenormNorm, RenormNorm),
    Sync: (SeparateSyncNorm, SyncNorm),
}


@dataclass(frozen=True)
class Separate(Replacement):
    """Keep one set of running statistics per domain, chosen by `domain(model, name)`.

    Shape: (N, C, *) to the same. Source: Wu and Johnson, 2021, section 5; Chang et al.,
    "Domain-Specific Batch Normalization", 2019.

    Args:
        domains: the names, the default one first; or "calls": one set for each place at which
            the model's forward calls the norm, in order (a detector's head shared by levels).
        affine: "shared" or "separate": whether the domains share weight and bias.
        each: how each domain is normalized: Keep(), Ghost(), Renorm() or Sync().

    Raises:
        ValueError: the names are not different, or an argument is none of those listed.

    Examples:
        >>> norm = bnc.convert(nn.BatchNorm1d(1), bnc.Separate(("clean", "adversarial")))
        >>> with bnc.domain(norm, "adversarial"):
        ...     y = norm(torch.randn(8, 1) + 5)
        >>> norm.running_mean  # of the first domain, which is the default one
        tensor([0.])
    """

    domains: tuple[str, ...] | Literal["calls"] = ("source", "target")
    affine: Literal["shared", "separate"] = "shared"
    each: Rewrite = Keep()  # noqa: RUF009  (a frozen value)

    preserves_eval: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the arguments."""
        if self.affine not in ("shared", "separate"):
            raise ValueError(
                f'Separate: affine is {self.affine!r}; use affine="shared" or affine="separate"'
            )
        if type(self.each) not in EACH:
            names = ", ".join(f"{rewrite.__name__}()" for rewrite in EACH)
            raise ValueError(f"Separate: each is {self.each!r}; use one of {names}")
        if self.domains != "calls":
            self._check_domains()

    def _check_domains(self) -> None:
        """Check that the domains are different names without a dot."""
        if isinstance(self.domains, str):
            raise ValueError(
                f"Separate: domains is the string {self.domains!r}; use a tuple of names, "
                'or "calls"'
            )
        names: tuple[Any, ...] = tuple(self.domains)
        object.__setattr__(self, "domains", names)
        sound = all(isinstance(name, str) and name and "." not in name for name in names)
        if not names or not sound or len(set(names)) < len(names):
            raise ValueError(f"Separate: domains is {names!r}; use different names without a dot")

    def why_not(self, site: Site) -> Refusal | None:
        """Refuse norms without running statistics, and calls that cannot be counted."""
        if refusal := needs_running_statistics(site, "to separate", "use Keep()"):
            return refusal
        if self.domains == "calls" and not site.observed_calls:
            seen = "are hidden from the trace" if site.observed_calls is None else "were not seen"
            return Refusal(
                "calls-unknown",
                f"its calls {seen}, so that they cannot be counted",
                "name the domains",
            )
        return self.each.why_not(site)

    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the domains' names and the settings of each."""
        each = self.each.attributes(site) if isinstance(self.each, Replacement) else {}
        by_call = self.domains == "calls"
        names = tuple(map(str, range(site.observed_calls or 0))) if by_call else self.domains
        settings = {"by_call": by_call, "separates_affine": self.affine == "separate"}
        return {**each, **settings, "domains": names}

    def is_already_done(self, site: Site) -> bool:
        """Tell whether the norm already has these domains."""
        settings = self.attributes(site)
        return type(site.module) is EACH[type(self.each)][0] and all(
            getattr(site.module, name) == value for name, value in settings.items()
        )

    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build one norm with its further domains' norms inside, for all of the paths."""
        if self.is_already_done(site):
            return {}
        outer, inner = EACH[type(self.each)]
        attributes = self.attributes(site)
        built = build(site, outer, attributes)
        domains = Extras().train(built.training)
        shared = SeparateNorm.added_names
        each = {name: value for name, value in attributes.items() if name not in shared}
        for name in attributes["domains"][1:]:
            domains._modules[name] = self._independent(build(site, inner, each))
        built.extras().add_module("domains", domains)
        return dict.fromkeys(site.paths, built)

    def _independent(self, norm: Normalization) -> Normalization:
        """Make a further domain's norm independent of the first one's tensors, hooks, children."""
        # Only the first one calls it, and runs the hooks and children itself.
        drop_hooks(norm)
        norm.children_after = ()
        norm._modules = {name: m for name, m in norm._modules.items() if isinstance(m, Extras)}
        for name, buffer in norm._buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
        for name, parameter in norm._parameters.items():
            if parameter is not None:
                copied = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
                norm._parameters[name] = copied if self.affine == "separate" else None
        return norm
