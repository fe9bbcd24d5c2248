"""The rows of an inspection: what is set of each norm, what feeds it, what was found."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from torch import fx

from bnconvert.diagnosis.findings.counters import batches_tracked
from bnconvert.diagnosis.norm_inputs import NormInput
from bnconvert.modules.kinds import eps_of, has_default_statistics, has_running_statistics
from bnconvert.modules.site import Site
from bnconvert.reporting.records import Finding, NormRow


def row_of(site: Site) -> NormRow:
    """Return the row of a norm."""
    mode = "training" if site.module.training else "eval"
    return NormRow(
        site.path,
        site.class_name,
        site.channels,
        site.observed_calls,
        mode,
        _settings(site),
        site.aliases,
        mode="frozen" if site.kind.has_fixed_statistics else mode,
        eps=eps_of(site.module),
        momentum=getattr(site.module, "momentum", None),
        batches_tracked=batches_tracked(site),
        fed_by=tuple(dict.fromkeys(_producers(site))),
        gains=site.gains,
    )


def counted(rows: Sequence[NormRow], inputs: Mapping[str, NormInput]) -> tuple[NormRow, ...]:
    """Return rows with the calls that a forward made, where it made more than were traced.

    The graph of a part of a model has one of the part's calls.
    """
    return tuple(
        replace(row, calls=max(row.calls or 0, inputs[row.path].calls))
        if row.path in inputs
        else row
        for row in rows
    )


def completed(
    rows: Sequence[NormRow],
    static: Sequence[NormRow],
    inputs: Mapping[str, NormInput],
    findings: Sequence[Finding],
) -> tuple[NormRow, ...]:
    """Return rows with all that is known of their norms.

    Args:
        rows: of the norms, or of a fold, a row for each of their calls.
        static: of the norms.
        inputs: by path, what reaches them; none without example inputs.
        findings: of the model.
    """
    known = {row.path: row for row in static}
    ids: dict[str, dict[str, None]] = {}
    for finding in findings:
        for path in finding.paths:
            ids.setdefault(path, {})[finding.id] = None
    return tuple(
        replace(
            row,
            **{name: getattr(known.get(row.path, row), name) for name in _STATIC},
            images=inputs[row.path].images if row.path in inputs else None,
            values=inputs[row.path].values if row.path in inputs else None,
            finding_ids=tuple(ids.get(row.path, ())),
        )
        for row in rows
    )


_STATIC = ("mode", "eps", "momentum", "batches_tracked", "fed_by", "gains")


def _producers(site: Site) -> Iterator[str]:
    """Yield what computes the inputs of a norm, as far as its calls were traced."""
    for call in site.calls:
        for value in (*call.args, *call.kwargs.values()):
            if isinstance(value, fx.Node):
                yield _name_of(value)
                break


def _name_of(node: fx.Node) -> str:
    """Return the path of the module, or the name of the function or input, that a value is of."""
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", node.target))
    return str(node.target)


def _settings(site: Site) -> str:
    """Describe a norm's settings in a few words: eps, momentum, what is special about it."""
    module = site.module
    settings = [f"eps={getattr(module, 'eps', '?')}"]
    momentum = getattr(module, "momentum", None)
    if hasattr(module, "momentum"):
        settings.append(f"momentum={momentum if momentum is None else format(momentum, 'g')}")
    if not has_running_statistics(module):
        settings.append("no running statistics")
    elif has_default_statistics(module):
        settings.append("untrained statistics")
    if site.kind.has_fixed_statistics:
        settings.append("frozen")
    if site.kind.children_after:
        settings.append(f"then {', '.join(_classes_after(site))}")
    return ", ".join(settings)


def _classes_after(site: Site) -> list[str]:
    names = (type(site.module.get_submodule(name)).__name__ for name in site.kind.children_after)
    return [name for name in names if name != "Identity"] or ["nothing"]
