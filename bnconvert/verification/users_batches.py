"""The proof on the user's own batches: all within the float64 tolerance, and what is decided."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from bnconvert.errors import ExportError, first_line
from bnconvert.graphs.example import Example, named_tensors
from bnconvert.modules.copies.preserving import restored
from bnconvert.numerics.random_state import preserved_random_state
from bnconvert.reporting.records import Check
from bnconvert.verification.cases import Case
from bnconvert.verification.compared_inputs import Claim
from bnconvert.verification.files.onnx_precision import precision_of
from bnconvert.verification.files.onnx_runner import OnnxRunner
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.rounding.lowered_precision import INT8
from bnconvert.verification.task_agreement import TaskAgreement
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.verdict import Judge


@dataclass(frozen=True, eq=False)
class UsersBatches:
    """The figures of a comparison on the user's batches.

    Attributes:
        checks: of each output and measure the one that is nearest to its limit, or beyond it.
        facts: the shares of decisions that are the same, and how many samples were compared.
        failing: the first batch on which the file computes something else, or None.
    """

    checks: tuple[Check, ...]
    facts: dict[str, str]
    failing: Example | None


def prove_on(
    model: nn.Module, path: Path, examples: Iterable[Example], claim: Claim
) -> UsersBatches:
    """Compare a model with a file on batches, one after the other.

    Args:
        model: compared in eval mode.
        path: the file; where it fixes the batch size, batches are divided, and what is left over
            is not compared.
        examples: the batches.
        claim: what is said about the file beforehand.

    Raises:
        ExportError: there is no batch, or the model or the file does not take one.
    """
    file, decided, precision = OnnxRunner(path), TaskAgreement(), precision_of(path)
    worst: dict[tuple[str, str], Check] = {}
    samples, failing = 0, None
    with preserved_random_state(), restored(model):
        for example in _divided(file, model, examples):
            reference = Reference(model, len(file.output_names), claim.raw, precision)
            count, checks = _compared(file, reference, example, decided)
            samples += count
            for check in checks:
                key = check.output, check.measure
                worst[key] = max(worst.get(key, check), check, key=_nearness)
            if failing is None and not all(check.passed for check in checks):
                failing = example
    if not samples:
        raise ExportError(
            "verify_inputs: holds no batch that fills one of the file; give larger ones, or leave "
            "it out"
        )
    name = f"your data, {samples} samples"
    nearest = tuple(replace(check, case=name) for check in worst.values())
    facts = {f"{figure} on your data": share for figure, share in decided.facts().items()}
    return UsersBatches(nearest, {"samples of your data": str(samples), **facts}, failing)


def _compared(
    file: OnnxRunner, reference: Reference, example: Example, decided: TaskAgreement
) -> tuple[int, tuple[Check, ...]]:
    """Compare one batch; return how many samples it has, and its checks."""
    names, lower = file.output_names, reference.precision
    case = Case("your data", example, (), True)
    known = _answers(reference, example)
    feed = file.feed(named_tensors(reference.model, example))
    outputs = file.run(feed)
    perturbed = reference.perturbed_answers
    casts, in_parts = feed.casts or lower is not None, lower is not INT8
    judge = Judge(names, {case: known}, Tolerance.of([known]), perturbed, casts, in_parts)
    if not isinstance(outputs, str) and len(outputs) == len(known.true):
        decided.add(names, outputs, known.true)
    return example.batch or 1, judge.judge({case: outputs}).checks[case]


def _answers(reference: Reference, example: Example) -> Answers:
    try:
        return reference.answers(example)
    except Exception as failure:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in example.tensors())
        raise ExportError(
            f"verify_inputs: {type(reference.model).__name__} does not run on {shapes} "
            f"({first_line(failure)}); give what its forward takes"
        ) from failure


def _divided(file: OnnxRunner, model: nn.Module, examples: Iterable[Example]) -> Iterator[Example]:
    """Yield batches of the size that a file fixes, or the batches themselves."""
    for example in examples:
        count, size = example.batch, file.fixed_batch(named_tensors(model, example), example)
        if size is None or count is None or size == count:
            yield example
        else:
            for first in range(0, count - size + 1, size):
                yield example.rows(range(first, first + size))


def _nearness(check: Check) -> float:
    """Return how near a check is to its limit: above 1 where it fails."""
    if not check.passed:
        return float("inf")
    return check.error / check.allowed if check.allowed else check.error
