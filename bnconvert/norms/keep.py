"""Keep: leave the norm as it is; the last alternative of a rule, or an explicit exception."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from bnconvert.errors import Refusal
from bnconvert.modules.rewrite import Rewrite
from bnconvert.modules.site import Site


@dataclass(frozen=True)
class Keep(Rewrite):
    """Leave the norm as it is.

    Examples:
        >>> bnc.Policy({"backbone.*": bnc.Frozen(), "*": bnc.Group(8) | bnc.Keep()})
        Policy({'backbone.*': Frozen(affine='frozen'), '*': Group(groups=8) | Keep()})
    """

    preserves_eval: ClassVar[bool] = True
    replaces: ClassVar[bool] = False

    def why_not(self, site: Site) -> Refusal | None:
        """Return None: every norm may stay."""
        return None

    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build nothing."""
        return {}
