"""What a report holds: findings, norms, checks, facts; plain values without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """Something about the model that its user should know.

    Attributes:
        id: stable name, such as "BN009".
        severity: "error", "warning" or "info".
        paths: the norms or modules it is about.
        message: the fact.
        fix: the next step.
    """

    id: str
    severity: Severity
    paths: tuple[str, ...]
    message: str
    fix: str


@dataclass(frozen=True)
class NormRow:
    """One call of one norm, or a norm that is never called.

    Attributes:
        path: where the module tree holds it.
        class_name: its class.
        channels: how many channels it normalizes.
        calls: how often one forward calls it; None where nothing could look.
        outcome: "folded", "standing", "uncalled", "seen", ...
        reason: into what it was folded, or why it stands.
        aliases: further paths of the same module.
    """

    path: str
    class_name: str
    channels: int
    calls: int | None
    outcome: str
    reason: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One comparison with its figures; errors are relative to the size of the output.

    Attributes:
        case: the input: where it came from and its batch size.
        output: which output.
        measure: "norm" (root mean square error), "peak" (largest error over the root mean
            square of the output), "rows" (a row alone against the same row in a batch).
        error: the measured error.
        allowed: the budget.
        passed: whether it holds.
        detail: what else went wrong, such as a shape or a NaN.
    """

    case: str
    output: str
    measure: str
    error: float
    allowed: float
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class Contents:
    """Everything that a report says.

    Attributes:
        title: one line.
        norms: one row per norm and call.
        findings: what the user should know.
        checks: the verification's figures.
        facts: further figures by name.
        notes: further sentences.
    """

    title: str
    norms: tuple[NormRow, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
