"""Findings about what is computed right before a norm, and lost in it: BN010."""

from collections import Counter
from collections.abc import Iterator

from torch import fx, nn

from bnconvert.diagnosis.findings.training_mode import tracks_batch
from bnconvert.modules.normalized_layer import LAYERS
from bnconvert.modules.site import Site, Survey
from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed

#: Of a linear layer the output's channels need not be those of the norm: sequences are (N, L, C).
_CONVOLUTIONS = tuple(layer for layer in LAYERS if layer is not nn.Linear)


def bias_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the finding about layers whose bias the norm takes away again."""
    if pairs := _wasted_biases(survey):
        yield Finding(
            "BN010",
            "info",
            tuple(pairs),
            f"a bias is added right before, by {listed([*pairs.values()])}, which the norm takes "
            "away again: it gets no gradient in training",
            "make these layers with bias=False; the code takes the bias out of the running mean",
            "[(m.running_mean.sub_(layer.bias.detach()), setattr(layer, 'bias', None)) "
            "for m, layer in ((model.get_submodule(norm), model.get_submodule(path)) "
            f"for norm, path in {pairs}.items())]",
        )


def _wasted_biases(survey: Survey) -> dict[str, str]:
    """Return by path of the norm the path of the layer whose bias it takes away in training.

    The layer's output must go to the norm alone, and nothing else may use the layer or its bias.
    """
    nodes = survey.graph.nodes if survey.graph is not None else ()
    calls = Counter(str(node.target) for node in nodes if node.op == "call_module")
    holders = Counter(id(p) for m in survey.model.modules() for p in m.parameters(recurse=False))
    found: dict[str, str] = {}
    for site in survey.sites:
        path = _only_producer(site)
        if path is None or not (site.module.training and tracks_batch(site)):
            continue
        layer = survey.model.get_submodule(path)
        if type(layer) not in _CONVOLUTIONS:  # a parametrized one is of another class
            continue
        bias = layer._parameters.get("bias")
        if bias is not None and calls[path] == holders[id(bias)] == 1:
            found[site.path] = path
    return found


def _only_producer(site: Site) -> str | None:
    """Return the path of the module whose output the norm's one call takes, and nothing else."""
    if len(site.calls) != 1 or not site.calls[0].args:
        return None
    node = site.calls[0].args[0]
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) != 1:
        return None
    return str(node.target)
