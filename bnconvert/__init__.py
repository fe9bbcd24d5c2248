"""Gets BatchNorm right, before fine-tuning and before deployment.

Each public name is imported when it is first used, so that `bnconvert --help` does not wait for
torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnconvert import conventions as conventions
    from bnconvert.conversion.conversion import convert as convert, plan as plan, revert as revert
    from bnconvert.conversion.finetuning import (
        Prepared as Prepared,
        prepare as prepare,
    )
    from bnconvert.conversion.parameter_groups import exempt_norms as exempt_norms
    from bnconvert.conversion.plan import Plan as Plan
    from bnconvert.conversion.policy import Policy as Policy
    from bnconvert.conversion.restoring.restoration import (
        plan_restore as plan_restore,
        restore as restore,
    )
    from bnconvert.conversion.restoring.restore_plan import RestorePlan as RestorePlan
    from bnconvert.conversion.suggestion import Suggestion as Suggestion, suggest as suggest
    from bnconvert.diagnosis.catalogue import explain as explain
    from bnconvert.diagnosis.diagnosis import diagnose as diagnose
    from bnconvert.diagnosis.inspection import inspect as inspect
    from bnconvert.errors import (
        BnconvertError as BnconvertError,
        CaptureError as CaptureError,
        ConventionError as ConventionError,
        ExportError as ExportError,
        FoldedTrainingError as FoldedTrainingError,
        InconclusiveError as InconclusiveError,
        OutputError as OutputError,
        PolicyError as PolicyError,
        RefusedError as RefusedError,
        ReportError as ReportError,
        StatisticsError as StatisticsError,
        UnsupportedModelError as UnsupportedModelError,
        VerificationError as VerificationError,
    )
    from bnconvert.exporting.export import export as export
    from bnconvert.exporting.verify import verify as verify
    from bnconvert.folding.equalizing.equalization import (
        Equalized as Equalized,
        equalize as equalize,
    )
    from bnconvert.folding.folding import Folded as Folded, fold as fold
    from bnconvert.norms import NORM_CLASSES as NORM_CLASSES
    from bnconvert.norms.adaptive import Adaptive as Adaptive
    from bnconvert.norms.checkpointing import checkpoint_contexts as checkpoint_contexts
    from bnconvert.norms.frozen import Frozen as Frozen
    from bnconvert.norms.ghost import Ghost as Ghost
    from bnconvert.norms.group import Group as Group
    from bnconvert.norms.instance import Instance as Instance
    from bnconvert.norms.keep import Keep as Keep
    from bnconvert.norms.momentum import (
        accumulated_momentum as accumulated_momentum,
        set_momentum as set_momentum,
    )
    from bnconvert.norms.renorm import Renorm as Renorm
    from bnconvert.norms.separate import Separate as Separate
    from bnconvert.norms.switches import (
        domain as domain,
        reset_stream as reset_stream,
        update_statistics as update_statistics,
        use_statistics as use_statistics,
    )
    from bnconvert.norms.sync import Sync as Sync
    from bnconvert.norms.virtual import Virtual as Virtual
    from bnconvert.reporting.report import Report as Report
    from bnconvert.statistics.measured import measured as measured
    from bnconvert.statistics.recomputation import (
        Recomputation as Recomputation,
        recompute_statistics as recompute_statistics,
    )

_HOMES = {
    "bnconvert": ("conventions",),
    "bnconvert.norms.checkpointing": ("checkpoint_contexts",),
    "bnconvert.conversion.conversion": ("convert", "plan", "revert"),
    "bnconvert.exporting.export": ("export",),
    "bnconvert.exporting.verify": ("verify",),
    "bnconvert.diagnosis.catalogue": ("explain",),
    "bnconvert.diagnosis.diagnosis": ("diagnose",),
    "bnconvert.errors": (
        "BnconvertError",
        "CaptureError",
        "ConventionError",
        "ExportError",
        "FoldedTrainingError",
        "InconclusiveError",
        "OutputError",
        "PolicyError",
        "RefusedError",
        "ReportError",
        "StatisticsError",
        "UnsupportedModelError",
        "VerificationError",
    ),
    "bnconvert.conversion.parameter_groups": ("exempt_norms",),
    "bnconvert.conversion.finetuning": ("Prepared", "prepare"),
    "bnconvert.conversion.suggestion": ("Suggestion", "suggest"),
    "bnconvert.folding.equalizing.equalization": ("Equalized", "equalize"),
    "bnconvert.folding.folding": ("Folded", "fold"),
    "bnconvert.diagnosis.inspection": ("inspect",),
    "bnconvert.norms": ("NORM_CLASSES",),
    "bnconvert.norms.adaptive": ("Adaptive",),
    "bnconvert.norms.frozen": ("Frozen",),
    "bnconvert.norms.ghost": ("Ghost",),
    "bnconvert.norms.group": ("Group",),
    "bnconvert.norms.instance": ("Instance",),
    "bnconvert.norms.keep": ("Keep",),
    "bnconvert.norms.momentum": ("accumulated_momentum", "set_momentum"),
    "bnconvert.norms.renorm": ("Renorm",),
    "bnconvert.norms.separate": ("Separate",),
    "bnconvert.norms.sync": ("Sync",),
    "bnconvert.norms.virtual": ("Virtual",),
    "bnconvert.conversion.plan": ("Plan",),
    "bnconvert.conversion.policy": ("Policy",),
    "bnconvert.conversion.restoring.restoration": ("plan_restore", "restore"),
    "bnconvert.conversion.restoring.restore_plan": ("RestorePlan",),
    "bnconvert.reporting.report": ("Report",),
    "bnconvert.statistics.measured": ("measured",),
    "bnconvert.statistics.recomputation": ("Recomputation", "recompute_statistics"),
    "bnconvert.norms.switches": (
        "domain",
        "reset_stream",
        "update_statistics",
        "use_statistics",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a public name from its home."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bnconvert' has no attribute {name!r}")
    home = _HOME_OF[name]
    own = home == __name__
    value = import_module(f"{home}.{name}") if own else getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(_HOME_OF)
