"""A norm of a model as plans, rewrites and findings see it, and the survey of all norms."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import fx, nn

from bnconvert.modules.kinds import Kind, channels_of, norms_in


@dataclass(frozen=True, eq=False)
class FunctionalNorm:
    """A call of `F.batch_norm` in a forward: a norm, but not a module that could be replaced.

    Attributes:
        owner: path of the module whose forward calls it.
        node: the call in the survey's graph.
        on_weight: whether it standardizes a weight (as in weight-standardized convolutions), and
            does not normalize activations.
    """

    owner: str
    node: fx.Node
    on_weight: bool


@dataclass(frozen=True, eq=False)
class Site:
    """One normalization module of a model.

    Attributes:
        path: the first path at which the module tree holds it.
        aliases: its further paths; the same module object.
        module: the user's own module object.
        kind: what kind of batch norm it is.
        model: the root module, the user's own object too.
        calls: its calls in the survey's traced graph.
        has_hidden_calls: whether there may be more calls, which were not traced.
    """

    path: str
    aliases: tuple[str, ...]
    module: nn.Module
    kind: Kind
    model: nn.Module
    calls: tuple[fx.Node, ...] = ()
    has_hidden_calls: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path of the module."""
        return (self.path, *self.aliases)

    @property
    def observed_calls(self) -> int | None:
        """How often one forward calls the norm; None where that is not known."""
        return None if self.has_hidden_calls else len(self.calls)

    @property
    def channels(self) -> int:
        """The number of channels that are normalized."""
        return channels_of(self.module)

    @property
    def class_name(self) -> str:
        """The name of the module's class."""
        return type(self.module).__name__


@dataclass(frozen=True, eq=False)
class Survey:
    """All norms of a model, and their calls as far as they could be traced.

    Attributes:
        model: the user's model; the trace ran on a copy.
        graph: the traced graph, or None where the root's own forward cannot be traced.
        sites: every norm once, in the order of the module tree.
        untraceable: path to reason, for each submodule that could not be traced: the norms inside
            are listed, but their calls are unknown. "" is the root.
        scripted: paths of TorchScript modules; norms inside are not listed.
        functional: calls of `F.batch_norm` seen outside the norm modules.
    """

    model: nn.Module
    graph: fx.Graph | None
    sites: tuple[Site, ...]
    untraceable: Mapping[str, str]
    scripted: tuple[str, ...] = ()
    functional: tuple[FunctionalNorm, ...] = ()


def sites_in(model: nn.Module) -> tuple[Site, ...]:
    """List every norm once, in the order of the module tree, without tracing: calls are unknown."""
    paths: dict[int, list[str]] = defaultdict(list)
    norms: dict[int, tuple[nn.Module, Kind]] = {}
    for path, module, kind in norms_in(model, remove_duplicate=False):
        paths[id(module)].append(path)
        norms[id(module)] = module, kind
    return tuple(
        Site(path, tuple(aliases), *norms[key], model) for key, (path, *aliases) in paths.items()
    )
