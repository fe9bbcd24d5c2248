"""Rewrites that replace a norm by a module of one class: all of them but Keep."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

from torch import nn

from bnconvert.errors import Refusal
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.site import Site
from bnconvert.modules.surgery import inherit, promote_affine

Built = TypeVar("Built", bound=Normalization)


class Replacement(Rewrite):
    """A rewrite that replaces a norm by a module of one class, which takes over its state."""

    #: The class of the module that is built.
    norm: ClassVar[type[Normalization]]

    @abstractmethod
    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the settings of the new module, by attribute."""

    def is_already_done(self, site: Site) -> bool:
        """Tell whether the norm already is what this rewrite would make of it."""
        settings = self.attributes(site)
        return type(site.module) is self.norm and all(
            getattr(site.module, name) == value for name, value in settings.items()
        )

    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build one module for all of the norm's paths."""
        if self.is_already_done(site):
            return {}
        return dict.fromkeys(site.paths, build(site, self.norm, self.attributes(site)))


def build(site: Site, norm: type[Built], attributes: dict[str, Any]) -> Built:
    """Build the norm that replaces a site's module, and takes over its state.

    Args:
        site: looked at only.
        norm: its class.
        attributes: its settings.
    """
    kind = site.kind
    built = inherit(
        site.module, norm, origin=kind.plain_class, children_after=kind.children_after, **attributes
    )
    promote_affine(built)
    built.init_state()
    return built


def needs_running_statistics(site: Site, purpose: str, remedy: str) -> Refusal | None:
    """Refuse a norm without running statistics; return None where it has some.

    Args:
        site: looked at only.
        purpose: what they are needed for, as in "to freeze".
        remedy: what to do instead.
    """
    if has_running_statistics(site.module):
        return None
    return Refusal("no-running-statistics", f"has no running statistics {purpose}", remedy)
