"""Folds in the user's own modules: other weights, norms that become the identity, same class."""

import copy
from collections.abc import Sequence

from torch import nn

from bnconvert.errors import UnsupportedModelError, first_line
from bnconvert.graft import graft_of
from bnconvert.graphs.parts import Part
from bnconvert.kinds import Kind
from bnconvert.numerics.distance import relative_error
from bnconvert.proving.reference import Reference, outputs_of
from bnconvert.proving.tolerance import Tolerance
from bnconvert.reporting.records import NormRow
from bnconvert.site import Site
from bnconvert.surgery import hidden_references, swap, uncopied, write_weights
from bnconvert.tracing import survey


def grafted(model: nn.Module, parts: Sequence[Part]) -> nn.Module:
    """Return a copy of the model with folded modules.

    Args:
        model: looked at only.
        parts: the model or parts of it, not folded; they are rewritten.

    Raises:
        UnsupportedModelError: the copy does not run any more on the parts' own inputs.
    """
    sites = _sites(model)
    twin = copy.deepcopy(model, uncopied(model)).eval()
    for part in parts:
        graft = graft_of(part, sites)
        write_weights(twin, graft.weights)
        gone = [site for site in sites if graft.outcomes.get(site.path, ("",))[0]]
        norms = {site.path: twin.get_submodule(site.path) for site in gone}
        rests = {site.path: tail_of(norms[site.path], site.kind) for site in gone}
        swap(twin, {path: rests[site.path] for site in gone for path in site.paths})
        _require_same(model, twin, part)
    return twin


def graft_rows(model: nn.Module, parts: Sequence[Part]) -> tuple[NormRow, ...]:
    """Return what `grafted` does with each norm."""
    outcomes: dict[str, tuple[str, str]] = {}
    for part in parts:
        outcomes |= graft_of(part, _sites(model)).outcomes
    rows: list[NormRow] = []
    for site in survey(model).sites:
        fold, reason = outcomes.get(site.path, ("", "it is not called as a module of its own"))
        row = NormRow(
            site.path,
            site.class_name,
            site.channels,
            site.observed_calls,
            "folded" if fold else "standing",
            reason,
            site.aliases,
            fold,
        )
        rows.append(row)
    return tuple(rows)


def _sites(model: nn.Module) -> list[Site]:
    """Return the norms that a swap reaches wherever the model holds them."""
    sites = survey(model).sites
    hidden = hidden_references(model, [site.module for site in sites])
    return [site for site in sites if id(site.module) not in hidden]


def _require_same(model: nn.Module, twin: nn.Module, part: Part) -> None:
    """Raise unless a part of the copy computes what the model's does, within rounding."""
    example = part.captured.example
    before, after = model.get_submodule(part.path), twin.get_submodule(part.path)
    reference = Reference(before)
    answers = reference.answers(example)
    tolerance = Tolerance.of([answers])
    path = part.path or type(model).__name__
    try:
        measured = outputs_of(after, example)
    except Exception as failure:
        raise UnsupportedModelError(
            f"{path}: its forward reads something of a norm that is gone "
            f"({first_line(failure)}); use the folded module instead"
        ) from failure
    for index, (value, truth) in enumerate(zip(measured, answers.true, strict=True)):
        error = relative_error(value, truth, "norm")
        if not error <= tolerance.allowed(index, "norm"):
            raise UnsupportedModelError(
                f"{path}: with its norms folded its modules compute something else (output "
                f"{index} is {error:.1e} off); use the folded module instead"
            )


def tail_of(norm: nn.Module, kind: Kind) -> nn.Module:
    """Return what a norm's module still does without the norm: its tail, with its hooks."""
    children = [norm.get_submodule(name) for name in kind.tail if hasattr(norm, name)]
    rest = nn.Sequential(*children) if children else nn.Identity()
    for name in ("_forward_hooks", "_forward_pre_hooks"):
        setattr(rest, name, vars(norm)[name])
    return rest.train(norm.training)
