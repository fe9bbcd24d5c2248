"""The records of a report: findings, norms, checks, facts; plain values without behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]
#: The worst first.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
#: The outcome of a norm in a plan that no rewrite fits.
REFUSED = "REFUSED"
#: What a comparison with an ONNX file says.
Verdict = Literal["", "agrees", "differs", "cannot be judged", "failed to run"]


@dataclass(frozen=True)
class Finding:
    """Something about the model that its user should know.

    Attributes:
        id: stable name, such as "BN009".
        severity: "error", "warning" or "info".
        paths: the paths of the norms or modules that it concerns.
        message: the fact.
        fix: the remedy: what to do, in words, or a line of code that does it.
        code: one line of Python that mends it, in terms of `bnc`, `nn`, `model`, and of `batches`,
            `optimizer` and `loader` where the command has them; "" where a person has to decide.
    """

    id: str
    severity: Severity
    paths: tuple[str, ...]
    message: str
    fix: str
    code: str = ""


@dataclass(frozen=True)
class NormRow:
    """One call of one norm, or a norm that is never called.

    Attributes:
        path: where the module tree holds it.
        class_name: its class.
        channels: how many channels it normalizes.
        calls: how often one forward calls it; None where it cannot be traced.
        outcome: "folded", "standing" or "uncalled" from a fold, the rewrite from a plan, its mode
            ("training" or "eval") from an inspection.
        reason: where it was folded into, why it is standing, or its settings.
        aliases: further paths of the same module.
        fold: which fold did it: "direct", "through", "forward", ...; "" for none.
        codes: why it is standing, for programs: the codes of the refusals.
        mode: "training", "eval" or "frozen".
        eps: what is added to the variance.
        momentum: torch's, the share of the new value; None where all batches are averaged.
        batches_tracked: how many training batches it has counted; None where it does not count.
        fed_by: what its input comes from: the paths of modules, and names of functions.
        images: the samples of its input, with example inputs; None where they are not known.
        values: the normalization batch: how many values of a channel are normalized together,
            samples x height x width.
        finding_ids: the findings that concern it.
        gains: by what it multiplies in eval mode, |weight| / sqrt(running_var + eps): the least,
            median and largest of its channels; none where they are not known or not finite.
    """

    path: str
    class_name: str
    channels: int
    calls: int | None
    outcome: str
    reason: str = ""
    aliases: tuple[str, ...] = ()
    fold: str = ""
    codes: tuple[str, ...] = ()
    mode: str = ""
    eps: float | None = None
    momentum: float | None = None
    batches_tracked: int | None = None
    fed_by: tuple[str, ...] = ()
    images: int | None = None
    values: int | None = None
    finding_ids: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()


@dataclass(frozen=True)
class Check:
    """One comparison with its figures; errors are relative to the size of the output.

    Attributes:
        case: the input: where it came from and its batch size.
        output: which output.
        measure: "norm" (root mean square error), "peak" (largest error over the root mean
            square of the output), "rows" (a row alone against the same row in a batch), "part" (a
            channel, a row or the small values, against their own size; only where one is wrong),
            "top-1" (the share of rows with another best class).
        error: the measured error.
        allowed: the tolerance: the largest error that it may have.
        passed: whether it holds.
        detail: what else is wrong, such as a shape or a NaN; "" for nothing.
        optimized: whether ONNX Runtime ran the file with its graph optimizations.
    """

    case: str
    output: str
    measure: str
    error: float
    allowed: float
    passed: bool
    detail: str = ""
    optimized: bool = True


@dataclass(frozen=True)
class StatisticsRow:
    """How far a norm's running statistics were from measured ones.

    Distances are root mean squares over the channels, in units of sigma, which is sqrt(var + eps)
    of the measured statistics.

    Attributes:
        path: the norm, with the domain or call in brackets if it holds several sets.
        class_name: its class.
        channels: how many channels it normalizes.
        samples: how many samples were measured.
        mean_distance: |old mean - new mean| / sigma; None where the old one is not finite.
        deviation_distance: |old sigma / sigma - 1|; likewise.
        standard_error: of the new mean, sqrt(rho / N), where rho is the share of the variance
            that the means of single images have; None where too few images were seen.
        enough_samples: how many samples give a standard error of 0.03.
        against: what the running statistics are compared with: the method that measured
            ("layerwise", "aggregate" or "ema"), or in a diagnosis "batch" or "precise".
        remark: what else the reader should know.
    """

    path: str
    class_name: str
    channels: int
    samples: int
    mean_distance: float | None
    deviation_distance: float | None
    standard_error: float | None
    enough_samples: int | None
    against: str
    remark: str = ""


@dataclass(frozen=True)
class ScoreInterval:
    """How certain a mean score is: its 99 % interval by a percentile bootstrap.

    Attributes:
        score: "loss" or "metric".
        statistics: what normalized ("running", "batch", "precise"); "running - precise" for the
            differences on the same data.
        mean: over the data.
        low: the 0.5th percentile; None where there are too few units, or one is not finite.
        high: the 99.5th percentile; likewise.
        unit: "sample" or "batch": what has one value each, and was drawn again.
        units: how many there are.
    """

    score: str
    statistics: str
    mean: float
    low: float | None
    high: float | None
    unit: Literal["sample", "batch"]
    units: int


@dataclass(frozen=True)
class Contents:
    """The contents of a report.

    Attributes:
        title: one line.
        verdict: of a comparison with an ONNX file, else "".
        norms: one row per norm and call.
        statistics: how far running statistics were from measured ones.
        findings: what the user should know.
        scores: by name ("loss", "metric"), then by the statistics that normalized ("running",
            "batch", "precise"): the mean over the data.
        intervals: how certain these scores are.
        checks: the verification's figures.
        facts: further figures by name.
        notes: further sentences.
        digests: which tensors it is about, as SHA-256 by name: the model's "weights" (all but the
            running statistics), its "statistics", and what the ONNX "file" computes.
    """

    title: str
    verdict: Verdict = ""
    norms: tuple[NormRow, ...] = ()
    statistics: tuple[StatisticsRow, ...] = ()
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: tuple[ScoreInterval, ...] = ()
    findings: tuple[Finding, ...] = ()
    checks: tuple[Check, ...] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
