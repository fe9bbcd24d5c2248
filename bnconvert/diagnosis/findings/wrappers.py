"""Findings about what is around norms: averaged weights, gradient checkpointing: BN303, BN312."""

from collections.abc import Iterator

from torch import nn
from torch.optim.swa_utils import AveragedModel

from bnconvert.diagnosis.findings.training_mode import tracks_batch
from bnconvert.modules.site import Survey
from bnconvert.reporting.records import Finding

#: The attributes by which timm, transformers, torchvision, Swin and MMCV switch recomputation on.
_FLAGS = (
    "grad_checkpointing",
    "gradient_checkpointing",
    "memory_efficient",
    "use_checkpoint",
    "with_cp",
)
_WRAPPER = "CheckpointWrapper"  # of torch.distributed and fairscale
_AVERAGES = ("ModelEmaV2", "ModelEmaV3")  # timm's


def wrapper_findings(survey: Survey) -> Iterator[Finding]:
    """Yield the findings about modules around norms that change how their statistics move."""
    yield from _averaged(survey)
    yield from _recomputed(survey)


def _averaged(survey: Survey) -> Iterator[Finding]:
    """Yield the finding about norms inside of averaged weights."""
    outer = [path for path, m in survey.model.named_modules() if _is_average(m)]
    paths = tuple(s.path for s in survey.sites if tracks_batch(s) and _is_inside(s.path, outer))
    if paths:
        yield Finding(
            "BN312",
            "info",
            paths,
            "the weights are averages, and running statistics belong to the weights that produced "
            "them: those of averaged weights have to be measured",
            "bnc.recompute_statistics(model, batches) before each evaluation and before saving; "
            "nothing, where that was done",
        )


def _recomputed(survey: Survey) -> Iterator[Finding]:
    """Yield the finding about norms whose forward runs twice in a step."""
    switches = {path: flag for path, m in survey.model.named_modules() if (flag := _switch(m))}
    paths = tuple(
        site.path
        for site in survey.sites
        if site.module.training and tracks_batch(site) and _is_inside(site.path, [*switches])
    )
    if paths:
        flags = ", ".join(dict.fromkeys(switches.values()))
        yield Finding(
            "BN303",
            "warning",
            paths,
            f"inside of gradient checkpointing ({flags}): what is recomputed updates its running "
            "statistics twice in a step, so that a momentum of 0.1 acts as 0.19",
            "checkpoint with context_fn=lambda: bnc.checkpoint_contexts(model), or set the "
            "momentum to bnc.accumulated_momentum(momentum, 2)",
        )


def _is_average(module: nn.Module) -> bool:
    """Tell whether a module holds averaged weights, and has averaged any."""
    if isinstance(module, AveragedModel):
        return int(module.n_averaged) > 0
    return type(module).__name__ in _AVERAGES and type(module).__module__.startswith("timm.")


def _switch(module: nn.Module) -> str | None:
    """Return the name of the attribute or class by which a module is recomputed, or None."""
    if type(module).__name__ == _WRAPPER:
        return _WRAPPER
    return next((flag for flag in _FLAGS if vars(module).get(flag) is True), None)


def _is_inside(path: str, outer: list[str]) -> bool:
    return any(not above or path == above or path.startswith(f"{above}.") for above in outer)
