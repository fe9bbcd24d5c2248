"""`restore`: norms back behind the layers of a model that was shipped with its norms folded."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.export import ExportedProgram

from bnconvert.conversion.restoring.decisions import make_restore_plan
from bnconvert.conversion.restoring.restore_plan import LayerRules, RestoreDecision, RestorePlan
from bnconvert.conversion.restoring.restored_norm import (
    Probe,
    RestoredNorm,
    only_measuring,
    restored_norm,
)
from bnconvert.folding.folding import Folded
from bnconvert.graphs.layer_modules import has_layer_operators, layers_as_modules
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.kinds import norms_in
from bnconvert.modules.lazy_modules import require_weights
from bnconvert.modules.normalized_layer import NormalizedLayer, normalized, without_bias
from bnconvert.modules.surgery import swap
from bnconvert.modules.survey import require_eager
from bnconvert.reporting.progress import Progress
from bnconvert.statistics.batch_inputs import ForwardFunction
from bnconvert.statistics.recomputation import recompute_statistics
from bnconvert.torch_private.one_at_a_time import one_at_a_time

_EPS = 1e-5  # torch's default


@dataclass(frozen=True, eq=False)
class Restoration:
    """A model with norms restored, and what was done.

    Attributes:
        model: the copy that has them.
        plan: which layers got one, and why the others did not.
        notes: what else the user must know.
    """

    model: nn.Module
    plan: RestorePlan
    notes: tuple[str, ...]


@one_at_a_time()
@usual_modes()
def plan_restore(
    model: nn.Module | Folded | ExportedProgram, *, layers: LayerRules | None = None
) -> RestorePlan:
    """Decide which layers `restore` would give a norm, and change nothing; print it to read it.

    Args:
        model: as for `restore`.
        layers: as for `restore`.

    Raises:
        PolicyError: a rule matches no layer.
        RefusedError: no layer that a rule asks for can get a norm.
        UnsupportedModelError: the model is wrapped, compiled or scripted.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 1))
        >>> [decision.place for decision in bnc.plan_restore(net, layers={"2": True}).decisions]
        ['0.norm', '2.norm']
    """
    return make_restore_plan(_with_modules(model), layers or {})


def restore(
    model: nn.Module | Folded | ExportedProgram,
    batches: Iterable[Any],
    *,
    layers: LayerRules | None = None,
    eps: float | None = None,
    forward: ForwardFunction | None = None,
    max_samples: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Put norms back behind the layers of a model whose norms were folded, to fine-tune it.

    A folded model must not be fine-tuned as it is: its gradients are other ones, and nothing
    normalizes any more ("Devils in BatchNorm", slide 35). Each new norm is an `nn.BatchNorm1d`,
    `2d` or `3d` with the statistics of its input over `batches`, by `recompute_statistics`, and
    weight sqrt(running_var + eps), bias = the mean: in eval mode the model computes what it did,
    but for rounding. In training mode it is what the model was before folding, as far as the
    statistics of `batches` are those of its training data and its norms' eps was small against
    their variance: of that, nothing is left in a folded model.

    A graft remembers: `Folded.graft` leaves an `nn.Identity` that knows the scale by which folding
    multiplied the layer, and the norm's eps and momentum. So its weights get their old size back,
    and gradients and learning rates act as on the unfolded model, whatever eps was. It is a plain
    attribute: copies and pickles of the model keep it, a state_dict does not.

    Where an `nn.Identity` is a layer's only consumer the norm takes
    its place, and the state_dict has the keys that it had before folding. Elsewhere the layer
    becomes one of a subclass of its class, with a child `norm`: of the state_dict all keys stay,
    and those of `conv.norm` are new. Either way the layer loses its bias, which the norm's mean
    cancels in training: no gradient would reach it, and before folding there was none. The norm's
    running mean and bias absorb it. A layer of a class whose forward does more with its bias
    than to add it keeps it.

    A captured graph (the `module` of a `Folded`, a torch.export program) comes back as a trainable
    `fx.GraphModule`: its layers are modules again, at the paths that held their weights, and all
    else is as it was captured: dropout is gone, branches that were merged into one layer stay
    merged, and norms that stand in it keep eval's statistics.
    `Folded.graft` keeps your own class, so prefer that where you have the model.

    By default those convolutions (transposed ones too) get a norm that have a bias and that no
    norm follows, but output layers, which no further layer and no rectifier follows. A channel
    that is constant over `batches` has the weight sqrt(eps); more batches help, or such a channel
    is dead. Norms that the model still has keep their statistics.

    Args:
        model: an eager module, such as a graft, in any mode; a `Folded`; or a torch.export program,
            as `torch.export.load` returns it. It is not changed.
        batches: as for `recompute_statistics`; read once.
        layers: by a glob over paths, whether its layers get a norm: `{"head.*": False}`; the
            first match decides, and where none matches the default. True puts norms also behind
            linear layers with inputs (N, C), layers without bias and output layers.
        eps: of the new norms; by default what a graft remembers, else 1e-5.
        forward: as for `recompute_statistics`.
        max_samples: as for `recompute_statistics`.
        memory_limit: as for `recompute_statistics`.
        progress: as for `recompute_statistics`.

    Returns:
        A copy of the model with norms, in the same mode. `plan_restore` says which layers have
        one, and why others have none.

    Raises:
        PolicyError: a rule matches no layer.
        RefusedError: no layer can get a norm, or none of those that a rule asks for.
        StatisticsError: no usable data, or none that reaches a layer.
        UnsupportedModelError: the model is wrapped, compiled or scripted, or cannot be copied.
        ValueError: `eps` is not positive.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> x = torch.randn(16, 3, 8, 8)
        >>> folded = bnc.fold(net, (x,)).graft(net)
        >>> again = bnc.restore(folded, [x])
        >>> again[1], again[0].bias is None
        (BatchNorm2d(8, eps=1e-05, momentum=0.1, affine=True, ...), True)
        >>> torch.allclose(again(x), net(x), atol=1e-5)
        True
    """
    return restored(
        model,
        batches,
        layers=layers,
        eps=eps,
        forward=forward,
        max_samples=max_samples,
        memory_limit=memory_limit,
        progress=progress,
    ).model


@one_at_a_time()
@usual_modes()
def restored(
    model: nn.Module | Folded | ExportedProgram,
    batches: Iterable[Any],
    *,
    layers: LayerRules | None = None,
    eps: float | None = None,
    **measuring: Any,
) -> Restoration:
    """Do what `restore` does, and return the plan that it followed as well.

    Args:
        model: as for `restore`.
        batches: as for `restore`.
        layers: as for `restore`.
        eps: as for `restore`.
        **measuring: further arguments of `recompute_statistics`.
    """
    if eps is not None and not eps > 0:
        raise ValueError(f"eps is {eps}; use a positive number such as 1e-5")
    copy = copy_model(_with_modules(model))
    plan = make_restore_plan(copy, layers or {})
    plan.require_any()
    probes = {decision: Probe(decision, _eps(decision, eps)) for decision in plan.restored}
    measured = swap(copy, _edits({d: RestoredNorm(p, has_bias=True) for d, p in probes.items()}))
    others = [f"{path}: " for path, norm, _ in norms_in(measured) if not isinstance(norm, Probe)]
    with only_measuring(measured):
        report = recompute_statistics(measured, batches, **measuring).report
    said = [note for note in report.notes if not note.startswith(tuple(others))]
    norms = {
        decision: restored_norm(decision, probe, probe.eps) for decision, probe in probes.items()
    }
    result = swap(measured, _edits(norms))
    return Restoration(result, plan, (*_dead_notes(probes), *said))


def _eps(decision: RestoreDecision, given: float | None) -> float:
    """Return the eps of a new norm: what was asked for, or what the layer's norm had before."""
    if given is not None:
        return given
    return _EPS if decision.former is None else decision.former.eps


def _with_modules(model: nn.Module | Folded | ExportedProgram) -> nn.Module:
    """Return the model, or a copy in which the layers of captured graphs are modules."""
    if isinstance(model, ExportedProgram):
        return layers_as_modules(model)
    given = model.module if isinstance(model, Folded) else model
    require_eager(given)
    require_weights(given)
    graphs = {
        path: layers_as_modules(module)
        for path, module in given.named_modules(remove_duplicate=False)
        if isinstance(module, fx.GraphModule) and has_layer_operators(module)
    }
    return swap(copy_model(given), graphs) if graphs else given


def _edits(norms: Mapping[RestoreDecision, RestoredNorm]) -> dict[str, nn.Module]:
    """Return the modules to attach, from the norm of each layer."""
    edits: dict[str, nn.Module] = {}
    for decision, new in norms.items():
        layer, place = decision.layer, decision.place
        assert place is not None, "a restored layer has a place for its norm"
        if decision.is_child and not isinstance(layer, NormalizedLayer):
            made = normalized(layer, new.norm, with_bias=new.has_bias)
            edits |= dict.fromkeys(decision.paths, made)
            continue
        edits[place] = new.norm
        if not new.has_bias:
            edits |= dict.fromkeys(decision.paths, without_bias(layer, new.weight))
    return edits


def _dead_notes(probes: Mapping[RestoreDecision, Probe]) -> Iterator[str]:
    """Yield a note on each layer with channels that are constant over the data."""
    for decision, probe in probes.items():
        count = int((probe.get_buffer("running_var") == 0).sum())
        if count:
            yield (
                f"{decision.place}: {count} of {probe.num_features} channels are constant over the "
                "batches, and have the weight sqrt(eps); give more batches where they should not be"
            )
