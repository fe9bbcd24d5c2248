"""`prepare`: a converted copy of a model, and optimizer parameter groups that fit it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn
from torch.export import ExportedProgram

from bnconvert.conversion.conversion import convert_with_plan
from bnconvert.conversion.parameter_groups import parameter_groups
from bnconvert.conversion.plan import Plan
from bnconvert.conversion.policy import Policy
from bnconvert.conversion.restoring.restoration import restored
from bnconvert.conversion.restoring.restore_plan import RestorePlan
from bnconvert.conversion.situation import Task
from bnconvert.conversion.suggestion import Suggestion, suggest
from bnconvert.errors import FoldedTrainingError, PolicyError
from bnconvert.folding.folding import Folded
from bnconvert.modules.ambient_modes import usual_modes
from bnconvert.modules.folded_module import FoldedModule
from bnconvert.modules.lazy_modules import require_weights
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.rewrite import Alternatives, Rewrite
from bnconvert.modules.survey import require_eager
from bnconvert.norms.momentum import accumulated_momentum, set_accumulated_momentum
from bnconvert.reporting.report import Report
from bnconvert.reporting.shown import Shown
from bnconvert.reporting.table import listed
from bnconvert.torch_private.one_at_a_time import one_at_a_time


@dataclass(frozen=True, eq=False, repr=False)
class Prepared(Shown):
    """A model that is ready to be fine-tuned.

    Attributes:
        model: the converted copy.
        parameter_groups: for any torch optimizer, every trainable parameter exactly once: those
            with weight decay, then those without (weight and bias of norms, every other bias).
        plan: which rewrite each norm got.
        notes: what else the user must know.
        suggestion: where the policy was "auto": the policy that was chosen, with its reasons.
        restored: which layers got a norm back, where `restore` was given.

    Examples:
        >>> net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        >>> ready = bnc.prepare(net, bnc.Frozen(affine="trainable"), weight_decay=0.01)
        >>> optimizer = torch.optim.SGD(ready.parameter_groups, lr=0.1)
        >>> print(ready)
        norm  class        channels  calls  becomes                     remark
        ...
        parameter group 1: 1 parameters (16 numbers) with weight decay 0.01
        parameter group 2: 3 parameters (12 numbers) with weight decay 0.0
    """

    model: nn.Module
    parameter_groups: list[dict[str, Any]]
    plan: Plan
    notes: tuple[str, ...] = ()
    suggestion: Suggestion | None = None
    restored: RestorePlan | None = None

    @property
    def report(self) -> Report:
        """The plan as a report, with the groups and what else the user must know as notes."""
        planned = self.plan.report
        return replace(planned, notes=(*planned.notes, *self._groups(), *self.notes))

    def _groups(self) -> list[str]:
        return [
            f"parameter group {number}: {len(group['params'])} parameters "
            f"({sum(p.numel() for p in group['params']):,} numbers) "
            f"with weight decay {group['weight_decay']}"
            for number, group in enumerate(self.parameter_groups, 1)
        ]

    def __str__(self) -> str:
        """Return the reasons of "auto", the plan, the groups and the notes, for a person."""
        first = () if self.restored is None else (f"{self.restored}\n",)
        chosen = () if self.suggestion is None else (str(self.suggestion),)
        return "\n".join((*first, *chosen, str(self.plan), *self._groups(), *self.notes))


@one_at_a_time()
@usual_modes()
def prepare(
    model: nn.Module | Folded | ExportedProgram,
    policy: Policy | Rewrite | Alternatives | Literal["auto"],
    *,
    weight_decay: float = 0.0,
    accumulate: int = 1,
    restore: Iterable[Any] | None = None,
    batch_size: int | None = None,
    world_size: int = 1,
    task: Task | None = None,
    domains: int | Sequence[str] = 1,
    pretrained: bool = True,
) -> Prepared:
    """Convert a copy of a model for fine-tuning, and group its parameters for the optimizer.

    Frozen norms stay frozen through `.train()` and `.requires_grad_(True)`, and what is frozen is
    in no group. With gradient
    accumulation the running statistics are updated once per micro-batch: the momentum is made
    smaller, so that they move per optimizer step as they would without accumulation. The batch
    that normalizes stays the micro-batch.

    Args:
        model: an eager module; with `restore`, also a `Folded` or a torch.export program. It is
            not changed.
        policy: as for `convert`; or "auto", for the policy that `suggest` chooses.
        weight_decay: of every parameter except biases and those of norms.
        accumulate: micro-batches per optimizer step.
        restore: batches, as for `bnc.restore`: norms are put back first behind the layers of a
            model that was shipped folded. For its other arguments, call it yourself.
        batch_size: as for `suggest`, and for "auto" only; so are those that follow.
        world_size: likewise.
        task: likewise.
        domains: likewise.
        pretrained: likewise.

    Raises:
        FoldedTrainingError: the model, or a part of it, is folded, and `restore` is not given.
        RefusedError: a norm has no legal rewrite, or no layer can get a norm back.
        StatisticsError: nothing can be measured on the batches of `restore`.
        PolicyError: a rule matches no norm, or `policy` is neither a policy nor a rewrite; or
            "auto" has no batch size, or a policy has one.
        UnsupportedModelError: the model is wrapped, compiled or scripted.
        ValueError: `weight_decay` is negative, `accumulate` less than 1, or another argument out
            of its range.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
        >>> ready = bnc.prepare(net, bnc.Ghost(16), weight_decay=1e-4, accumulate=2)
        >>> round(ready.model[1].momentum, 4)
        0.0513
        >>> [(len(group["params"]), group["weight_decay"]) for group in ready.parameter_groups]
        [(1, 0.0001), (3, 0.0)]
        >>> print(bnc.prepare(net, "auto", batch_size=2, pretrained=False))
        use Group(groups=4); 1 norm: 1 Group(groups=4)
        because: training from scratch, small batches, one device: independent of the batch, ...
    """
    if weight_decay < 0:
        raise ValueError(f"weight_decay is {weight_decay}; use 0 or more")
    accumulated_momentum(0.0, accumulate)  # refuses a wrong number of steps
    _require_batch_size(policy, batch_size)
    done = None if restore is None else restored(model, restore)
    unfolded = _unfolded(model if done is None else done.model)
    suggestion = None
    if policy == "auto":
        assert batch_size is not None
        suggestion = suggest(
            unfolded,
            batch_size=batch_size,
            world_size=world_size,
            task=task,
            domains=domains,
            pretrained=pretrained,
        )
        policy = suggestion.policy
    target, followed = convert_with_plan(unfolded, policy)
    notes = [] if done is None else [*done.notes]
    notes += [*set_accumulated_momentum(target, accumulate), *_ignored_requests(target)]
    plan = None if done is None else done.plan
    groups = parameter_groups(target, weight_decay)
    return Prepared(target, groups, followed, tuple(notes), suggestion, plan)


def _require_batch_size(policy: object, batch_size: int | None) -> None:
    """Raise unless "auto" has a batch size, and a policy has none."""
    if policy == "auto" and batch_size is None:
        raise PolicyError('"auto" chooses by the batch size; give batch_size, samples per device')
    if policy != "auto" and batch_size is not None:
        raise PolicyError(
            'batch_size chooses a policy, and one is given; use "auto" or leave it out'
        )


def _unfolded(model: object) -> nn.Module:
    """Return the model, which is eager and holds nothing that is folded; else raise."""
    if isinstance(model, Folded):
        raise FoldedTrainingError
    require_eager(model)
    assert isinstance(model, nn.Module), "all else is refused"
    if any(isinstance(module, FoldedModule) for module in model.modules()):
        raise FoldedTrainingError
    require_weights(model)
    return model


def _ignored_requests(model: nn.Module) -> Iterator[str]:
    """Yield a note on norms that are frozen while their parameters require gradients."""
    paths = [
        path or "(root)"
        for path, module in model.named_modules()
        if isinstance(module, Normalization) and module.asked_to_train
    ]
    if paths:
        yield (
            f"{listed(paths)}: frozen, though weight or bias require gradients; they get none "
            'and are in no group: use Frozen(affine="trainable") to train them'
        )
