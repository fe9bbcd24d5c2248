"""The value that everything works on: one norm of a model, and the survey it was seen in."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import fx, nn

from bnconvert.kinds import Kind, channels_of


@dataclass(frozen=True, eq=False)
class FunctionalNorm:
    """A call of `F.batch_norm` in a forward: no module to rewrite, but a norm to know of.

    Attributes:
        owner: path of the module whose forward calls it.
        node: the call in the survey's graph.
        on_weight: it standardizes a weight (as in weight-standardized convolutions), and is
            not a normalization of activations at all.
    """

    owner: str
    node: fx.Node
    on_weight: bool


@dataclass(frozen=True, eq=False)
class Survey:
    """A model's norms as a trace saw them. Looking changes nothing: the trace runs on a copy.

    Attributes:
        model: the user's model, untouched.
        graph: the traced graph, or None where the root's own forward cannot be traced.
        closed: path to reason, for each submodule into which the trace could not look; the
            norms inside are seen, their calls are not. "" is the root.
        scripted: paths of TorchScript modules; whether norms are inside is not seen.
        functional: calls of `F.batch_norm` seen outside the norm modules.
    """

    model: nn.Module
    graph: fx.Graph | None
    closed: Mapping[str, str]
    scripted: tuple[str, ...] = ()
    functional: tuple[FunctionalNorm, ...] = ()
    _sites: list["Site"] = field(default_factory=list, repr=False)

    @property
    def sites(self) -> tuple["Site", ...]:
        """Every norm once, in the order of the module tree."""
        return tuple(self._sites)

    def closed_around(self, path: str) -> str | None:
        """Return the closed submodule that hides the calls of the norm at `path`, or None."""
        hiding = (outer for outer in self.closed if not outer or f"{path}.".startswith(f"{outer}."))
        return next(hiding, None)


@dataclass(frozen=True, eq=False)
class Site:
    """One normalization module, as traced.

    Attributes:
        path: the first path at which the module tree holds it.
        aliases: its further paths; the same module object.
        module: the user's own module object.
        kind: how the module is read.
        calls: its calls in the survey's graph; empty where the trace could not look.
        survey: the whole model.
    """

    path: str
    aliases: tuple[str, ...]
    module: nn.Module
    kind: Kind
    calls: tuple[fx.Node, ...]
    survey: Survey

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path of the module."""
        return (self.path, *self.aliases)

    @property
    def observed_calls(self) -> int | None:
        """How often one forward calls the norm; None where the trace could not look."""
        hidden = self.survey.closed_around(self.path) is not None
        return None if hidden else len(self.calls)

    @property
    def channels(self) -> int:
        """The number of channels that are normalized."""
        return channels_of(self.module)

    @property
    def class_name(self) -> str:
        """The name of the module's class."""
        return type(self.module).__name__
