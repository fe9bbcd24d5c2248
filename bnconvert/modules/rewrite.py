"""The protocol of a rewrite: whether a norm may be replaced, and by which modules."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from bnconvert.errors import Refusal
from bnconvert.modules.site import Site

if TYPE_CHECKING:
    from typing import Self


class Rewrite(ABC):
    """A kind of normalization to convert norms to. Subclasses are frozen dataclasses.

    The object is the choice: `Frozen(affine="trainable")` is at once the user's request and the
    code that carries it out, and its repr is its source code. `a | b` tries `a` first.
    """

    #: Whether eval output stays what it was; the contract test checks the claim.
    preserves_eval: ClassVar[bool]
    #: Whether it replaces modules at all; a norm that cannot be replaced is refused if so.
    replaces: ClassVar[bool] = True

    @property
    def keeps_batch_norm_state(self) -> bool:
        """Whether batch norm's state stays where it was; the contract test checks the claim.

        Then a plain batch norm checkpoint loads, strictly, and `revert` gives the batch norm back.
        """
        return True

    @abstractmethod
    def why_not(self, site: Site) -> Refusal | None:
        """Return why `site` may not be rewritten, or None. Looks only."""

    @abstractmethod
    def edits(self, site: Site) -> dict[str, nn.Module]:
        """Build, and do not attach, the modules that replace the norm, by path.

        It is empty where the norm already is what was asked for.
        """

    def caution(self, site: Site) -> str | None:
        """Return what the user must know about this rewrite here, or None. Looks only."""
        return None

    def __or__(self, other: "Rewrite | Alternatives") -> "Alternatives":
        """Return alternatives: this rewrite or, where it is refused, `other`."""
        return Alternatives((self,)) | other

    @property
    def choices(self) -> "tuple[Rewrite, ...]":
        """The alternatives in order, as in `Alternatives`: here only one."""
        return (self,)


class Alternatives:
    """Rewrites of which the first legal one is taken; made by `a | b`."""

    def __init__(self, choices: tuple[Rewrite, ...]) -> None:
        """Keep the alternatives in the order in which they are tried."""
        self.choices = choices

    def __or__(self, other: "Rewrite | Alternatives") -> "Self":
        """Append further alternatives."""
        return type(self)((*self.choices, *other.choices))

    def __repr__(self) -> str:
        """Return the source code."""
        return " | ".join(map(repr, self.choices))

    def __eq__(self, other: object) -> bool:
        """Compare by the choices."""
        return isinstance(other, Alternatives) and self.choices == other.choices

    def __hash__(self) -> int:
        """Hash by the choices."""
        return hash(self.choices)
