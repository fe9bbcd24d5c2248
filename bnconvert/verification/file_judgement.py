"""The judgement on a file: all checks of its runs, with graph optimizations and without."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bnconvert.graphs.example import Example
from bnconvert.reporting.records import Check
from bnconvert.verification.cases import Case
from bnconvert.verification.verdict import Judgement, blaming_optimizations


@dataclass(frozen=True, eq=False)
class FileJudgement:
    """What was found about a file.

    Attributes:
        optimized: of its runs as everyone runs it.
        unoptimized: of those without graph optimizations.
        further: checks that compare runs with each other, or what is decided.
        mixed: the outputs whose rows were not compared in other batches.
    """

    optimized: Judgement
    unoptimized: Judgement
    further: Sequence[Check]
    mixed: Collection[str]

    @property
    def checks(self) -> list[Check]:
        """All checks, with who is to blame where only the optimized run fails."""
        unoptimized = self.unoptimized
        blamed = {case for case in unoptimized.checks if not unoptimized.fails(case)}
        return [
            *(
                blaming_optimizations(check) if case in blamed else check
                for case, those in self.optimized.checks.items()
                for check in those
            ),
            *(check for those in unoptimized.checks.values() for check in those),
            *self.further,
        ]

    @property
    def excused(self) -> frozenset[str]:
        """The outputs that are right only because the model is discontinuous there."""
        return self.optimized.excused | self.unoptimized.excused

    @property
    def holds_plainly(self) -> bool:
        """Whether every check was made and holds, and nothing had to be excused."""
        return not (self.mixed or self.excused) and all(check.passed for check in self.checks)

    def fails(self, case: Case) -> bool:
        """Tell whether a check of this case fails in either run."""
        return self.optimized.fails(case) or self.unoptimized.fails(case)

    def divergent_input(self, cases: Iterable[Case]) -> Example | None:
        """Return the smallest input that fails, unless ONNX Runtime's optimizations are why."""
        wrong = [case for case in cases if self.fails(case)]
        if any(case.given and not self.unoptimized.fails(case) for case in wrong):
            return None
        smallest = min(wrong, key=lambda case: len(case.rows), default=None)
        return smallest.example if smallest else None
