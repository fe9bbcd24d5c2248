"""Findings about norms that somebody meant to freeze: BN001, BN002, BN003, BN021."""

from collections.abc import Collection, Iterator, Sequence

from torch import nn

from bnconvert.diagnosis.findings.code_lines import converting, for_each
from bnconvert.diagnosis.findings.rule import Rule, found_by
from bnconvert.diagnosis.findings.training_mode import tracks_batch
from bnconvert.modules.copies.copying import copy_sharing_parameters
from bnconvert.modules.kinds import has_running_statistics
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.site import Site, Survey
from bnconvert.norms.frozen import Frozen
from bnconvert.reporting.records import Finding

_freeze = converting(Frozen(), "bnc.Frozen()")
_track = for_each("setattr(m, 'track_running_stats', True)")


def freezing_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about norms that are frozen in part, or not for good."""
    yield from found_by((*_frozen_by_eval(survey.model), *RULES), survey.sites)


def _has_frozen_affine(site: Site) -> bool:
    """Tell whether there is a weight or bias, and none of them learns."""
    own = [p for p in site.module._parameters.values() if p is not None]
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _is_switched_off(site: Site) -> bool:
    """Tell whether `track_running_stats` is off while there are running statistics."""
    return (
        getattr(site.module, "track_running_stats", True) is False
        and has_running_statistics(site.module)
        and not site.kind.has_fixed_statistics
    )


def _freeze_and_track(sites: Sequence[Site]) -> str:
    """Write the line that freezes norms, and sets the flag back that was meant to do it."""
    lines = (_track(sites), _freeze(sites))
    return "; ".join(lines) if all(lines) else ""


RULES = (
    Rule(
        "BN001",
        "warning",
        lambda site: site.module.training and tracks_batch(site) and _has_frozen_affine(site),
        "weight and bias are frozen, but the norm is in training mode: it normalizes by the batch, "
        "and its running statistics go on changing",
        "convert with Frozen(), which freezes the statistics too",
        _freeze,
    ),
    Rule(
        "BN002",
        "error",
        _is_switched_off,
        "track_running_stats is off but running statistics exist: training normalizes by "
        "the batch and eval by the old statistics",
        "convert with Frozen(), and set track_running_stats=True again",
        _freeze_and_track,
    ),
    Rule(
        "BN021",
        "warning",
        lambda site: isinstance(site.module, Normalization) and bool(site.module.asked_to_train),
        "frozen, though weight or bias require gradients: none reaches them through the norm",
        'convert with Frozen(affine="trainable") to train them, or with Frozen() to freeze them '
        "for good",
    ),
)


def _frozen_by_eval(model: nn.Module) -> Sequence[Rule]:
    """Return the rules about norms in eval mode inside a model in training mode."""
    kept = _paths_kept_in_eval(model) if model.training else ()

    def is_frozen(site: Site) -> bool:
        return model.training and not site.module.training and not site.kind.has_fixed_statistics

    return (
        Rule(
            "BN003",
            "warning",
            lambda site: is_frozen(site) and site.path not in kept,
            "in eval mode inside a model in training mode, which the next model.train() undoes",
            "convert with Frozen() to freeze them for good",
            _freeze,
        ),
        Rule(
            "BN003",
            "info",
            lambda site: is_frozen(site) and site.path in kept,
            "in eval mode inside a model in training mode, and its own train() keeps it so",
            "nothing is to be done; with Frozen() it would not depend on train()",
        ),
    )


def _paths_kept_in_eval(model: nn.Module) -> Collection[str]:
    """Return which modules a `train()` of the model's own leaves in eval; tried on a copy."""
    own = (
        "train" in vars(module) or type(module).train is not nn.Module.train
        for module in model.modules()
    )
    if not any(own):
        return ()
    try:
        copy = copy_sharing_parameters(model)
        copy.train()
    except Exception:
        return ()  # what it does is not known
    return {path for path, module in copy.named_modules() if not module.training}
