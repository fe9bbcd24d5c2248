"""`plan`, `convert` and `revert`: the training side's verbs."""

from collections.abc import Mapping
from typing import TypeVar, cast

from torch import nn

from bnconvert.conversion.plan import Plan, make_plan
from bnconvert.conversion.policy import Policy
from bnconvert.errors import RefusedError, UnsupportedModelError
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.modules.surgery import plain_batch_norm_edits, swap
from bnconvert.modules.survey import require_eager
from bnconvert.modules.tracing.hidden_references import hidden_references
from bnconvert.norms.switches import has_switch
from bnconvert.torch_private.one_at_a_time import one_at_a_time

#: The class of the user's model, which its copy has too; but for a model that is itself a norm.
ModelT = TypeVar("ModelT", bound=nn.Module)
#: What to do with a model that cannot be copied.
_REMEDY = "use inplace=True"


@one_at_a_time()
@usual_modes()
def plan(model: nn.Module, policy: Policy | Rewrite | Alternatives) -> Plan:
    """Decide what `convert` would do to each norm, and change nothing; print the plan to read it.

    Args:
        model: an eager module, in any mode.
        policy: a rewrite for every norm, or a `Policy` of rules.

    Raises:
        PolicyError: a rule matches no norm, or `policy` is neither a policy nor a rewrite.
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> print(bnc.plan(net, bnc.Ghost(16)))
        norm  class        channels  calls  becomes
        1     BatchNorm2d         8      1  Ghost(size=16)
        1 norm: 1 Ghost(size=16)
        the new norms are no subclasses of torch's _BatchNorm: ...
    """
    return make_plan(model, Policy.of(policy))


def convert(
    model: ModelT, policy: Policy | Rewrite | Alternatives, *, inplace: bool = False
) -> ModelT:
    """Replace the model's norms as `policy` says; the same class, methods, hooks and keys.

    Each norm takes and returns the shapes that it did: (N, C) or (N, C, *).

    Args:
        model: an eager module, in any mode.
        policy: a rewrite for every norm, or a `Policy` of rules.
        inplace: change `model` itself, so that an existing optimizer keeps working; otherwise a
            deep copy is changed and returned.

    Returns:
        The model, or its copy. A model that is itself a norm gives the new norm, which with
        `inplace=True` shares the Parameters of the old one.

    Raises:
        RefusedError: a norm has no legal rewrite; it lists all such norms, and nothing has changed.
        PolicyError: a rule matches no norm, or `policy` is neither a policy nor a rewrite.
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> bnc.convert(net, bnc.Frozen())
        Sequential(
          (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1))
          (1): FrozenNorm(8, eps=1e-05, momentum=0.1, affine=True, ...)
        )
    """
    converted = convert_with_plan(model, policy, inplace=inplace, remedy=_REMEDY)[0]
    return cast(ModelT, converted)


@one_at_a_time()
@usual_modes()
def convert_with_plan(
    model: nn.Module,
    policy: Policy | Rewrite | Alternatives,
    *,
    inplace: bool = False,
    **copying: str,
) -> tuple[nn.Module, Plan]:
    """Do what `convert` does, and return the plan that it followed as well.

    Args:
        model: as for `convert`.
        policy: as for `convert`.
        inplace: as for `convert`.
        **copying: `remedy`, what a caller without `inplace` advises instead of it; none means
            the advice of `copy_model`.
    """
    require_eager(model)
    if inplace:
        _require_no_switch(model)
    target = model if inplace else copy_model(model, **copying)
    followed = make_plan(target, Policy.of(policy))
    followed.require_legal()
    return swap(target, followed.edits()), followed


@one_at_a_time()
@usual_modes()
def revert(model: ModelT, *, domain: str | None = None, inplace: bool = False) -> ModelT:
    """Give every norm its plain torch class back, with its momentum and batch counter.

    Norms that bnconvert made return to the class they had. Other packages' frozen norms become
    the `BatchNorm2d` that they were copied from, with torch's default momentum. The `nn.GroupNorm`
    of `Group(plain=True)` stays: it holds no running statistics.

    Args:
        model: an eager module.
        domain: for norms that hold the statistics of several domains: which of them to use. None
            for the active domain, which outside of any context is the first.
        inplace: change `model` itself rather than a deep copy.

    Raises:
        UnsupportedModelError: the model is wrapped, compiled or scripted, or `domain` is given
            and no norm holds domains.
        RefusedError: something outside of the module tree holds a norm that is to be replaced; or
            a switch (`update_statistics`, `use_statistics`) is in force, and `inplace`.

    Examples:
        >>> frozen = bnc.convert(nn.BatchNorm2d(8), bnc.Frozen())
        >>> bnc.revert(frozen)
        BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, ...)
    """
    require_eager(model)
    if domain is not None:
        _require_domain(model, domain)
    if inplace:
        _require_no_switch(model)
    target = model if inplace else copy_model(model, remedy=_REMEDY)
    edits = plain_batch_norm_edits(target, everything=True, domain=domain)
    _require_replaceable(target, edits)
    return cast(ModelT, swap(target, edits))


def _require_no_switch(model: nn.Module) -> None:
    """Raise inside of a switch: it holds for the norms that it was set on, not for others."""
    switched = [path or "(root)" for path, norm, _ in norms_in(model) if has_switch(norm)]
    if switched:
        raise RefusedError(
            [
                f"{path}: update_statistics or use_statistics is in force; leave its context first"
                for path in switched
            ]
        )


def _require_replaceable(model: nn.Module, edits: Mapping[str, nn.Module]) -> None:
    """Raise where something outside of the module tree holds a norm that is to be replaced."""
    norms = {path: model.get_submodule(path) for path in edits}
    hidden = hidden_references(model, list(norms.values()))
    held = {path: hidden[id(norm)] for path, norm in norms.items() if id(norm) in hidden}
    if held:
        raise RefusedError([f"{p or '(root)'}: {h.refusal}" for p, h in held.items()])


def _require_domain(model: nn.Module, domain: str) -> None:
    """Raise unless every norm that holds domains holds this one, and some norm does."""
    several = {
        path or "(root)": module.domains
        for path, module, _ in norms_in(model)
        if isinstance(module, Normalization) and module.domains
    }
    if not several:
        raise UnsupportedModelError(
            f"no norm of the model holds a domain {domain!r}; leave domain out"
        )
    for path, domains in several.items():
        if domain not in domains:
            raise UnsupportedModelError(
                f"{path}: holds no domain {domain!r}; use one of {', '.join(domains)}"
            )
