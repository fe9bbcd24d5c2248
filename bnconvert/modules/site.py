"""A norm of a model as plans, rewrites and findings see it, and the survey of all norms."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import fx, nn

from bnconvert.modules.folded_norm import gain_range
from bnconvert.modules.kinds import Kind, channels_of, norms_in
from bnconvert.modules.normalization import Normalization


@dataclass(frozen=True, eq=False)
class FunctionalNorm:
    """A norm in a forward that is not a module of the model, so that it cannot be replaced.

    It is a call of `F.batch_norm`, or of a norm module that the forward makes.

    Attributes:
        owner: path of the module whose forward calls it.
        node: the call in the survey's graph; None where only the code of the forward mentions it.
        on_weight: whether it standardizes a weight (as in weight-standardized convolutions), and
            does not normalize activations.
        is_made_there: whether it is a norm module that the forward makes anew at each call.
        by_batch_alone: whether it has no running statistics, and normalizes by its input's own.
    """

    owner: str
    node: fx.Node | None
    on_weight: bool = False
    is_made_there: bool = False
    by_batch_alone: bool = False

    @property
    def fact(self) -> str:
        """What it is, in words."""
        if self.is_made_there and self.node is None:
            return "its forward could not be traced and names a batch norm class, which it may make"
        if self.is_made_there:
            return "makes a batch norm in its forward, which begins anew at every call"
        if self.by_batch_alone:
            return (
                "calls F.batch_norm without running statistics in its forward, which normalizes by "
                "its input's own, in eval mode too"
            )
        return "calls F.batch_norm in its forward, which cannot be converted"

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if self.is_made_there:
            return "make the norm in __init__ and hold it as a submodule"
        if self.by_batch_alone:
            return (
                "use an nn.BatchNorm module, or for a norm of each sample its formula: "
                "(x - x.mean(dims, keepdim=True)) / "
                "(x.var(dims, correction=0, keepdim=True) + eps).sqrt()"
            )
        return "use an nn.BatchNorm module there to convert it"


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
        used_by: paths of the modules whose forward normalizes by its statistics without calling
            it, where no rewrite reaches.
        shares_parameters_with: path of the first other module that holds one of its Parameters.
    """

    path: str
    aliases: tuple[str, ...]
    module: nn.Module
    kind: Kind
    model: nn.Module
    calls: tuple[fx.Node, ...] = ()
    has_hidden_calls: bool = True
    used_by: tuple[str, ...] = ()
    shares_parameters_with: str | None = None

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

    @property
    def gains(self) -> tuple[float, ...]:
        """Least, median and largest |weight| / sqrt(running_var + eps) of its channels.

        None at all where they are not known, or not finite.
        """
        ours = isinstance(self.module, Normalization)
        if self.kind.is_other_class or (ours and not self.module.is_batch_norm_in_eval):
            return ()
        return gain_range(self.module)


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
        functional: norms in forwards that are no modules of the model.
        idle: norms that plain attributes hold and that no forward was seen to call.
    """

    model: nn.Module
    graph: fx.Graph | None
    sites: tuple[Site, ...]
    untraceable: Mapping[str, str]
    scripted: tuple[str, ...] = ()
    functional: tuple[FunctionalNorm, ...] = ()
    idle: tuple[Site, ...] = ()


def sites_in(model: nn.Module) -> tuple[Site, ...]:
    """List every norm once, in the order of the module tree, without tracing: calls are unknown."""
    paths: dict[int, list[str]] = defaultdict(list)
    norms: dict[int, tuple[nn.Module, Kind]] = {}
    for path, module, kind in norms_in(model, remove_duplicate=False):
        paths[id(module)].append(path)
        norms[id(module)] = module, kind
    other_holder = _other_holders(model)
    return tuple(
        Site(
            path,
            tuple(aliases),
            *norms[key],
            model,
            shares_parameters_with=other_holder(norms[key][0]),
        )
        for key, (path, *aliases) in paths.items()
    )


def _other_holders(model: nn.Module) -> Callable[[nn.Module], str | None]:
    """Return what finds the first other module, in the tree's order, with a module's Parameters."""
    paths = {id(module): path for path, module in model.named_modules()}
    order = {key: place for place, key in enumerate(paths)}
    holders: dict[int, list[int]] = defaultdict(list)
    for module in model.modules():
        for parameter in module._parameters.values():
            held = holders[id(parameter)]
            if len(held) < 2 and id(module) not in held:  # of two, one is another module
                held.append(id(module))

    def other_holder(module: nn.Module) -> str | None:
        own = (id(p) for p in module._parameters.values() if p is not None)
        others = {holder for p in own for holder in holders[p] if holder != id(module)}
        return paths[min(others, key=order.__getitem__)] if others else None

    return other_holder
