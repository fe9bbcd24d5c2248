"""A rewrite that puts one module of one class in a norm's place: all of them but Keep."""

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
    """A rewrite whose norm is an instance of one class, built from the site's own state."""

    #: The class of the module that is built.
    norm: ClassVar[type[Normalization]]

    @abstractmethod
    def attributes(self, site: Site) -> dict[str, Any]:
        """Return the settings of the new module, by attribute."""

    def is_done(self, site: Site) -> bool:
        """Tell whether the norm already is what was asked for."""
        settings = self.attributes(site)
        return type(site.module) is self.norm and all(
            getattr(site.module, name) == value for name, value in settings.items()
        )

    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build one module for all of the norm's paths."""
        if self.is_done(site):
            return {}
        return dict.fromkeys(site.paths, build(site, self.norm, self.attributes(site)))


def build(site: Site, norm: type[Built], attributes: dict[str, Any]) -> Built:
    """Build a norm of one class from a site's state.

    Args:
        site: looked at only.
        norm: the class.
        attributes: its settings.
    """
    kind = site.kind
    built = inherit(site.module, norm, origin=kind.plain, tail=kind.tail, **attributes)
    promote_affine(built)
    built.init_state()
    return built


def needs_running_statistics(site: Site, purpose: str, remedy: str) -> Refusal | None:
    """Return the refusal of a norm that has no running statistics, or None.

    Args:
        site: looked at only.
        purpose: what they are needed for, as in "to freeze".
        remedy: what to do instead.
    """
    if has_running_statistics(site.module):
        return None
    return Refusal("no-running-statistics", f"has no running statistics {purpose}", remedy)
