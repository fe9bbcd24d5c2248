"""Noise: outputs in which a model's own rounding errors are so large that agreement says little.

Where the model itself has no correct digit, an output of zeros is within the tolerance too.
"""

from collections.abc import Iterator, Mapping, Sequence

from bnconvert.reporting.records import Finding
from bnconvert.reporting.table import listed
from bnconvert.verification.cases import Case
from bnconvert.verification.finding_ids import UNPROVEN
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.tolerance import NO_DIGIT, Answers, Tolerance

_RANDOM = (
    "the model draws random numbers in eval mode, so that agreement proves {}; find what "
    "draws them: a dropout that is called with training=True, or noise that is to be an input"
)


def notes_on_noise(
    reference: Reference,
    names: Sequence[str],
    answers: Mapping[Case, Answers],
    tolerance: Tolerance,
) -> Iterator[str]:
    """Yield how large the model's own error is where it is large.

    Args:
        reference: the model.
        names: of the file's outputs.
        answers: the model's, by case.
        tolerance: over all cases.
    """
    if tolerance.noise and reference.is_random(next(iter(answers)).example):
        yield _RANDOM.format("little")
    elif tolerance.noise:
        yield (
            "the model itself is ill-conditioned: its own rounding error is "
            f"{tolerance.noise:.1e} of its output, so that agreement proves little"
        )
    limits = [(case, tolerance.at(known)) for case, known in answers.items()]
    for index, name in enumerate(names):
        silent = [case.name for case, limit in limits if limit.says_nothing(index)]
        if silent and not tolerance.says_nothing(index):
            yield (
                f"{name} is not judged on {listed(silent)}: there the model's own rounding error "
                f"is more than {NO_DIGIT:.0%} of it"
            )


def noisy_outputs(
    reference: Reference, names: Sequence[str], example: Case, tolerance: Tolerance
) -> Iterator[Finding]:
    """Yield a finding about the outputs that have no correct digit on any input.

    Args:
        reference: the model.
        names: of the file's outputs.
        example: the case with the given inputs.
        tolerance: over all cases.
    """
    noisy = [name for index, name in enumerate(names) if tolerance.says_nothing(index)]
    if not noisy:
        return
    if reference.is_random(example.example):
        message, fix = _RANDOM.format("nothing").split("; ")
    else:
        lowered = f" to {reference.precision.name}" if reference.precision else ""
        message = (
            f"on every input that was tried, rounding{lowered} alone changes the model's own "
            f"output {listed(noisy)} by more than {NO_DIGIT:.0%} of its size: a file may compute "
            "anything else there"
        )
        fix = (
            "load trained weights if these are random ones, and give inputs like those that it "
            "was trained on; where it stays so, the model is no better than chance in this dtype"
        )
        if lowered:
            fix += ", unless you say how far off is near enough: tolerance=0.3 (--tolerance 0.3), "
            fix += "with agreement=0.9 besides (--agreement 0.9), which alone does not suffice"
    yield Finding(UNPROVEN, "error", ("(root)",), message, fix)
