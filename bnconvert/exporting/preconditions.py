"""Preconditions of an export: refuse models whose eval forward is not one fixed function."""

from torch import fx, nn

from bnconvert.errors import ExportError, Refusal
from bnconvert.graphs.aten import norm_calls
from bnconvert.modules.kinds import has_running_statistics, kind_of, norms_in
from bnconvert.modules.normalization import Normalization
from bnconvert.modules.survey import require_runnable


def require_exportable(model: nn.Module) -> None:
    """Raise unless the model is eager and, in eval mode, every norm of it is fixed.

    Raises:
        UnsupportedModelError: the model is wrapped, compiled or scripted.
        ExportError: a norm is in training mode inside an eval model, which exporters ship as
            another function; or it adapts to the test stream, and a file keeps no state.
    """
    require_runnable(model)
    norms = list(norms_in(model))
    training = [
        path
        for path, module, kind in norms
        if module.training
        and not model.training
        and not kind.has_fixed_statistics
        and has_running_statistics(module)
    ]
    if training:
        raise ExportError(
            f"{', '.join(training)}: in training mode inside an eval model, where it normalizes "
            "by its batch; call model.eval() to export the running statistics"
        )
    remembering = [
        path or "(root)"
        for path, norm, _ in norms
        if isinstance(norm, Normalization) and norm.remembers_in_eval
    ]
    if remembering:
        raise ExportError(
            f"{', '.join(remembering)}: remember the test stream, which a file cannot; "
            'convert with Adaptive(over="batch"), or revert(model)'
        )


def why_by_batch(model: nn.Module, graph: fx.GraphModule) -> Refusal | None:
    """Refuse calls of `F.batch_norm` without running statistics: ONNX has no such operator.

    A norm module without them is judged by what its file computes.
    """
    callers = [
        call.caller or "(root)"
        for call in norm_calls(graph)
        if call.obstacle is not None
        and call.obstacle.code == "batch-statistics"
        and kind_of(model.get_submodule(call.caller)) is None
    ]
    if not callers:
        return None
    return Refusal(
        "batch-statistics",
        f"{', '.join(dict.fromkeys(callers))}: calls F.batch_norm without running statistics, "
        "which ONNX cannot do in inference",
        "write a norm of each sample as its formula, (x - x.mean(dims, keepdim=True)) / "
        "(x.var(dims, correction=0, keepdim=True) + eps).sqrt(), or as F.instance_norm",
    )
