"""Folds in the user's own modules: other weights, norms that become the identity, same class."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bnconvert.errors import Refusal, UnsupportedModelError, first_line
from bnconvert.folding.folds.direct import Direct
from bnconvert.folding.graft_plan import GraftOutcome, plan_graft
from bnconvert.folding.same_function import first_difference
from bnconvert.graphs.capture.parts import Part
from bnconvert.graphs.mutable_graph import constant
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.copies.preserving import preserved
from bnconvert.modules.folded_norm import remember_norm
from bnconvert.modules.kinds import Kind
from bnconvert.modules.site import Site, sites_in
from bnconvert.modules.surgery import swap, write_weights
from bnconvert.modules.tracing.hidden_references import hidden_references
from bnconvert.reporting.records import NormRow
from bnconvert.torch_private.module_hooks import share_forward_hooks

_UNCALLED = GraftOutcome(
    0, refusal=Refusal("not-called-as-module", "it is not called as a module of its own")
)


def grafted(model: nn.Module, parts: Sequence[Part]) -> nn.Module:
    """Return a copy of the model with folded modules.

    Args:
        model: looked at only.
        parts: the model or parts of it, as captured; looked at only.

    Raises:
        UnsupportedModelError: the model is not the one that was captured, or the copy does not
            run any more on the parts' own inputs.
    """
    _require_captured(model, parts)
    sites = _sites(model)
    copy = copy_model(model)
    if model.training:
        copy.eval()  # else a part that is in training mode stays so, as in what was captured
    for part in parts:
        graft = plan_graft(part, sites)
        write_weights(copy, graft.weights)
        taken = [site for site in sites if graft.outcomes.get(site.path, _UNCALLED).fold]
        norms = {site.path: copy.get_submodule(site.path) for site in taken}
        rests = {site.path: tail_of(norms[site.path], site.kind) for site in taken}
        for site in taken:
            if graft.outcomes[site.path].fold == Direct.name:
                remember_norm(rests[site.path], norms[site.path])
        swap(copy, {path: rests[site.path] for site in taken for path in site.paths})
        with preserved(model):
            _require_same(model, copy, part)
    return copy


def graft_rows(model: nn.Module, parts: Sequence[Part]) -> tuple[NormRow, ...]:
    """Return what `grafted` does with each norm.

    Raises:
        UnsupportedModelError: the model is not the one that was captured.
    """
    _require_captured(model, parts)
    outcomes: dict[str, GraftOutcome] = {}
    sites = _sites(model)
    for part in parts:
        outcomes |= plan_graft(part, sites).outcomes
    found = [(site, outcomes.get(site.path, _UNCALLED)) for site in sites_in(model)]
    return tuple(
        NormRow(
            site.path,
            site.class_name,
            site.channels,
            outcome.calls,
            "folded" if outcome.fold else "standing",
            outcome.reason,
            site.aliases,
            outcome.fold,
            () if outcome.refusal is None else (outcome.refusal.code,),
        )
        for site, outcome in found
    )


def _sites(model: nn.Module) -> list[Site]:
    """Return the norms that a swap reaches wherever the model holds them."""
    sites = sites_in(model)
    hidden = hidden_references(model, [site.module for site in sites])
    return [site for site in sites if id(site.module) not in hidden]


def _require_captured(model: nn.Module, parts: Sequence[Part]) -> None:
    """Raise unless the model still has the weights that were captured."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for part in parts:
        for node in part.captured.module.graph.find_nodes(op="get_attr"):
            path = f"{part.path}.{node.target}".lstrip(".")
            value, now = constant(part.captured.module, node), state.get(path)
            if value is not None and now is not None and not _is_same(value, now):
                raise UnsupportedModelError(
                    f"{path}: is not what was folded; fold the model again, and graft that"
                )


def _is_same(first: Tensor, second: Tensor) -> bool:
    """Tell whether two tensors hold the same numbers; NaN is the same as NaN."""
    alike = first.shape == second.shape and first.dtype == second.dtype
    first, second = first.detach(), second.detach().to(first.device)
    return alike and torch.equal(first.nan_to_num(), second.nan_to_num())


def _require_same(model: nn.Module, copy: nn.Module, part: Part) -> None:
    """Raise unless a part of the copy computes what the model's does, within rounding."""
    example = part.captured.example
    before, after = model.get_submodule(part.path), copy.get_submodule(part.path)
    path = part.path or type(model).__name__
    try:
        found = first_difference(before, after, example)
    except Exception as failure:
        raise UnsupportedModelError(
            f"{path}: its forward reads something that only a norm has "
            f"({first_line(failure)}); use the folded module instead"
        ) from failure
    if found is not None:
        index, error = found
        raise UnsupportedModelError(
            f"{path}: with its norms folded its modules compute something else (output "
            f"{index} is {error:.1e} off); use the folded module instead"
        )


def tail_of(norm: nn.Module, kind: Kind) -> nn.Module:
    """Return what a norm's module still does without the norm: its tail, with its hooks."""
    children = [norm.get_submodule(name) for name in kind.children_after if hasattr(norm, name)]
    rest = nn.Sequential(*children) if children else nn.Identity()
    share_forward_hooks(norm, rest)
    return rest.train(norm.training)
