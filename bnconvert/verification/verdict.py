"""The verdict on one run of a file: whether every output is within the float64 tolerance.

An output with a larger error may still be right where the model itself is discontinuous, as the
position of a maximum is. That is checked only for runs in which something fails, and it excuses a
run as a whole or not at all: so the verdict does not depend on the order of outputs or cases.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from torch import Tensor

from bnconvert.numerics.distance import Measure, difference, relative_errors
from bnconvert.reporting.records import Check, Finding, Verdict
from bnconvert.verification.agreement import Outputs
from bnconvert.verification.cases import Case
from bnconvert.verification.parts import WrongPart, wrong_part
from bnconvert.verification.rounding.discontinuities import beyond, nearest_model_output
from bnconvert.verification.rounding.perturbation import PerturbedRows, PerturbedRuns
from bnconvert.verification.tolerance import FACTOR, Answers, Tolerance

_BLAME = (
    "relative error {:.1e}, {:.1e} allowed; ONNX Runtime's own graph optimizations are the cause: "
    "without them the file is within the tolerance"
)
#: Perturbed runs that cost as much as answers in float64, by which no more of them are needed.
_TRIED = 2
#: Perturbed runs of a model that cannot jump, than which no other is so many times farther off.
_FEW, _FARTHER = 6, 8.0
#: How a report's title says each verdict.
WORDS: dict[Verdict, str] = {
    "agrees": "agrees with",
    "differs": "DIFFERS from",
    "cannot be judged": "CANNOT BE JUDGED against",
    "failed to run": "DOES NOT RUN beside",
}


@dataclass(frozen=True, eq=False)
class Judgement:
    """Which outputs of one run of a file are right.

    Attributes:
        checks: by case, in the order of the outputs.
        excused: the names of outputs that are right only because the model is discontinuous there.
    """

    checks: Mapping[Case, tuple[Check, ...]]
    excused: frozenset[str]

    def fails(self, case: Case) -> bool:
        """Tell whether a check of this case fails."""
        return any(not check.passed for check in self.checks.get(case, ()))


@dataclass(frozen=True, eq=False)
class Judge:
    """Compares runs of a file with the model's answers.

    Attributes:
        names: the names of the file's outputs.
        answers: the model's answers, by case.
        tolerance: how far from them a file may be.
        perturbed: returns the model's own outputs on perturbed inputs of a case.
        casts: whether the whole file is in another precision than the model.
        in_parts: whether each part of an output counts by its own size, too.
    """

    names: Sequence[str]
    answers: Mapping[Case, Answers]
    tolerance: Tolerance
    perturbed: Callable[[Case], Iterable[Sequence[Tensor]]]
    casts: bool = False
    in_parts: bool = True

    def judge(self, run: Mapping[Case, Outputs], *, optimized: bool = True) -> Judgement:
        """Compare every output of a run with the model's answers.

        Args:
            run: the file's outputs by case, or why it has none.
            optimized: whether it had ONNX Runtime's graph optimizations.
        """
        reasons = {case: self._obstacle(case, outputs) for case, outputs in run.items()}
        compared = {case: [] if reasons[case] else self._compared(case, run[case]) for case in run}
        failing = [one for ones in compared.values() for one in ones if not self._holds(one)]
        excused = {} if any(reasons.values()) or self._is_partial else self._excused(failing)
        checks: dict[Case, tuple[Check, ...]] = {}
        for case, ones in compared.items():
            label = case.name if optimized else f"{case.name}, unoptimized"
            if reasons[case]:
                none = Check(label, "all outputs", "norm", math.inf, 0.0, False, reasons[case])
                those = [none]
            else:
                those = [c for one in ones for c in self._checks(label, one, excused.get(one))]
            checks[case] = tuple(replace(check, optimized=optimized) for check in those)
        return Judgement(checks, frozenset(self.names[one.index] for one in excused))

    def _obstacle(self, case: Case, outputs: Outputs) -> str:
        """Return why outputs cannot be compared one by one, or ""."""
        if isinstance(outputs, str):
            return outputs
        count = len(self.answers[case].true)
        if len(outputs) != count:
            return f"the file has {_outputs(len(outputs))}, the model {count}"
        return ""

    def _compared(self, case: Case, outputs: Outputs) -> list["_Output"]:
        """Measure the error of each of a run's outputs."""
        assert not isinstance(outputs, str)
        found: list[_Output] = []
        tolerance = self.tolerance.at(self.answers[case])
        for index, value in enumerate(outputs):
            expected = self.answers[case].native[index]
            if self.casts and value.is_floating_point() and expected.is_floating_point():
                value = value.to(expected.dtype)
            errors = relative_errors(value, self.answers[case].true[index])
            detail = difference(value, expected)
            found.append(_Output(case, index, value, detail, errors, tolerance))
        return found

    def _holds(self, output: "_Output") -> bool:
        return not output.detail and output.tolerance.allows(output.index, output.errors)

    def _wrong_part(self, output: "_Output") -> WrongPart | None:
        """Return the part of an output that is wrong although the whole is within the tolerance."""
        if not self.in_parts or output.tolerance.given is not None:
            return None
        index, answers = output.index, self.answers[output.case]
        runs = [run for run in (answers.native, answers.perturbed) if run is not None]
        return wrong_part(
            output.value,
            answers.true[index],
            [run[index] for run in runs],
            self._perturbed(output),
            factor=FACTOR,
            whole=output.tolerance.allowed(index, "norm"),
            bounded=index in answers.bounded,
            partial=answers.partial,
        )

    def _perturbed(self, output: "_Output") -> Iterator[Tensor]:
        """Yield the model's own values of an output, perturbed; the model runs when asked for."""
        most = _TRIED if self._is_partial else None
        for outputs in islice(self.perturbed(output.case), most):
            yield outputs[output.index]

    @property
    def _is_partial(self) -> bool:
        """Whether what fails is judged again, with all answers in float64."""
        return any(known.partial for known in self.answers.values())

    def _excused(self, failing: Sequence["_Output"]) -> dict["_Output", dict[Measure, float]]:
        """Return the errors of failing outputs without their discontinuous entries.

        Nothing is returned unless all of them are then within the tolerance.
        """
        found: dict[_Output, dict[Measure, float]] = {}
        for output in failing:
            if output.detail:
                return {}
            index, truth = output.index, self.answers[output.case].true[output.index]
            if (selection := self.answers[output.case].selections.get(index)) is not None:
                truth = selection.with_ties(output.value, truth)
            runs = self.perturbed(output.case)
            if _is_out_of_reach(output, truth, runs):
                return {}
            least, own = output.tolerance.allowed(index, "peak"), (run[index] for run in runs)
            truth = nearest_model_output(output.value, truth, own, least)
            found[output] = relative_errors(output.value, truth)
            if not output.tolerance.allows(index, found[output]):
                return {}  # no discontinuity explains it, so the run is wrong anyhow
        return found

    def _checks(
        self, label: str, output: "_Output", excused: Mapping[Measure, float] | None
    ) -> Iterator[Check]:
        """Yield one check per measure of an output, with the excused errors if there are any."""
        if excused is None and self._holds(output) and (wrong := self._wrong_part(output)):
            part = f"{wrong.name}: relative error {wrong.error:.1e}, {wrong.allowed:.1e} allowed"
            yield Check(
                label, self.names[output.index], "part", wrong.error, wrong.allowed, False, part
            )
        for measure, error in (excused or output.errors).items():
            allowed = output.tolerance.allowed(output.index, measure)
            passed = not output.detail and error <= allowed
            name = self.names[output.index]
            yield Check(label, name, measure, error, allowed, passed, output.detail)


@dataclass(frozen=True, eq=False)
class _Output:
    """One output of a file on one input, how far it is from the truth, and how far it may be."""

    case: Case
    index: int
    value: Tensor
    detail: str
    errors: Mapping[Measure, float]
    tolerance: Tolerance


def _is_out_of_reach(output: _Output, truth: Tensor, runs: Iterable[Sequence[Tensor]]) -> bool:
    """Tell by a few perturbed runs of a model that cannot jump whether any could excuse an output.

    All runs of such a model are about as far from the truth.
    """
    few = [run[output.index] for run in islice(runs, _FEW)]
    if not isinstance(runs, PerturbedRuns | PerturbedRows) or runs.may_jump or len(few) < _FEW:
        return False
    if not truth.is_floating_point() or any(run.shape != truth.shape for run in few):
        return False
    left = relative_errors(beyond(output.value, truth, few, _FARTHER), truth)
    return not output.tolerance.allows(output.index, left)


def blaming_optimizations(check: Check) -> Check:
    """Return a check, which says if it failed that only the optimized file fails."""
    if check.passed:
        return check
    return replace(check, detail=check.detail or _BLAME.format(check.error, check.allowed))


def verdict_of(
    checks: Sequence[Check], findings: Sequence[Finding], outputs: Mapping[Case, Outputs]
) -> Verdict:
    """Return the verdict over all checks, and what they say nothing about."""
    if isinstance(next(iter(outputs.values())), str):
        return "failed to run"
    if not all(check.passed for check in checks):
        return "differs"
    unproven = any(finding.severity == "error" for finding in findings)
    return "cannot be judged" if unproven else "agrees"


def _outputs(count: int) -> str:
    return "1 output" if count == 1 else f"{count} outputs"
