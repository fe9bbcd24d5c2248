"""The reference: a model's outputs in float64 and in its own dtype."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from bnconvert.errors import ExportError, first_line
from bnconvert.graphs.example import Example
from bnconvert.modules.copies.copying import copy_model
from bnconvert.modules.copies.parameter_copies import copy_in_double
from bnconvert.reporting.table import listed
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.raw_inputs import RawInput, RawNormalization, as_floating
from bnconvert.verification.references.batch_statistics import BatchStatistics
from bnconvert.verification.references.dependence import INPUTS, followed
from bnconvert.verification.references.model_outputs import leaves_of, outputs_of
from bnconvert.verification.references.pool_answers import PoolAnswers, have_same_shapes
from bnconvert.verification.rounding.bounded_outputs import BoundedValues
from bnconvert.verification.rounding.exact_precision import ExactPrecision
from bnconvert.verification.rounding.lowered_precision import Precision
from bnconvert.verification.rounding.perturbation import (
    PerturbedRuns,
    Roundings,
    is_below_float32,
    rounded_anew,
    roundings_of,
)
from bnconvert.verification.rounding.selections import Selections
from bnconvert.verification.tolerance import FACTOR, Answers

SEED = 0
_EPS = float(torch.finfo(torch.float32).eps)
#: How often an input is perturbed to see whether an output is discontinuous.
PERTURBATIONS = 32


class Reference:
    """A model in its own dtype and in float64, which computes the outputs to compare with.

    Attributes:
        model: a copy, in eval mode, in its own dtype.
        exact: a copy in float64.
        precision: what `model` runs in instead of its own dtype; None for that.
        notes: what could not be done as usual, and why.
    """

    def __init__(
        self,
        model: nn.Module,
        count: int | None = None,
        raw: Sequence[RawInput] = (),
        precision: Precision | None = None,
    ) -> None:
        """Copy the model, in eval mode unless it is already, and once more in float64.

        Args:
            model: looked at only.
            count: how many outputs the file has; where it is the number of the model's tensors and
                plain numbers together, the numbers are compared too.
            raw: which inputs are normalized before the model gets them.
            precision: what its file computes in; where that is lower than the model's own, it
                runs in that too, but for `exact`.

        Raises:
            UnsupportedModelError: an attribute of the model cannot be copied.
        """
        self._count, self._raw = count, raw
        self.model = copy_model(model)
        if model.training:
            self.model.eval()
        self.precision = precision if precision and precision.is_lower_than(model) else None
        self.exact = copy_in_double(self.model)
        if raw:
            for copied, exact in ((self.model, False), (self.exact, True)):
                hook = RawNormalization(raw, exact=exact)
                copied.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
        self.notes: list[str] = []
        self._roundings: dict[Example, Roundings] = {}
        self._perturbed: dict[Case, Iterable[list[Tensor]]] = {}
        self._pools: dict[Pool, PoolAnswers] = {}

    def answers_to(self, pool: Pool) -> dict[Case, Answers]:
        """Compute the answers case by case; the notes name cases on which the model fails.

        Raises:
            ExportError: the model does not run on the given inputs.
        """
        found, failed = dict[Case, Answers](), dict[str, list[str]]()
        for case in pool.cases:
            try:
                found[case] = self.answers(case.example)
            except Exception as failure:
                if case is pool.cases[0]:
                    raise ExportError(
                        f"{type(self.model).__name__}: does not run on {case.name} "
                        f"({first_line(failure)}); give inputs that its forward accepts"
                    ) from failure
                failed.setdefault(first_line(failure), []).append(case.name)
        self.notes += [f"the model does not run on {listed(n)}: {w}" for w, n in failed.items()]
        return found

    def answers_at_once(self, pool: Pool) -> dict[Case, Answers] | None:
        """Return `PoolAnswers.at_once`, which is None where rows depend on one another."""
        return self._known(pool, PoolAnswers.at_once)

    def answers_in_part(self, pool: Pool) -> dict[Case, Answers] | None:
        """Return `PoolAnswers.in_part`: of most rows, the model's own outputs are the truth."""
        return None if self.precision else self._known(pool, PoolAnswers.in_part)

    def _known(
        self, pool: Pool, way: Callable[[PoolAnswers], dict[Case, Answers] | None]
    ) -> dict[Case, Answers] | None:
        answers = self._pools.setdefault(pool, PoolAnswers(self, pool))
        found = way(answers)
        if found is not None and not self._perturbed.keys() & found.keys():
            self._perturbed |= answers.perturbed()
        return found

    def answers(self, example: Example) -> Answers:
        """Run the model in its own dtype, also on perturbed inputs, and in float64."""
        native = self.native_outputs(example)
        with rounded_anew(self.model):
            perturbed = self._run(self.model, self._floating(example).perturbed(self._units))
        exact = self.exact_answers(example)
        if exact is None:
            roundings = self._roundings.get(example) or roundings_of(self.model, example, self._run)
            units = max(1.0, roundings.eps / _EPS)  # a lower precision swallows smaller steps
            perturbed = self._run(self.model, self._floating(example).perturbed(units))
            return Answers(native, native, perturbed)
        if not have_same_shapes(exact.true, native):
            self.note("in float64 the model gives outputs of other shapes: its own are the truth")
            return Answers(native, native, perturbed, exact.bounded)
        return exact._replace(native=native, perturbed=perturbed)

    def perturbed_outputs(self, example: Example, like: Example | None = None) -> PerturbedRuns:
        """Return the outputs where roundings are drawn otherwise, as large as a file may err.

        They are the same at every call, and none where the model refuses perturbed inputs.

        Args:
            example: the inputs.
            like: an input whose forward was watched, and rounds as much.
        """
        floating = self._floating(example)
        return PerturbedRuns(
            self.model,
            floating,
            self._run,
            units=FACTOR,
            count=PERTURBATIONS,
            roundings=self._roundings.get(like or example),
        )

    def perturbed_answers(self, case: Case) -> Iterable[list[Tensor]]:
        """Return the `perturbed_outputs` of a case; each run is computed once.

        Where the answers were computed at once, so are these: one forward for all cases.
        """
        if case not in self._perturbed:
            self._perturbed[case] = self.perturbed_outputs(case.example)
        return self._perturbed[case]

    def outputs(self, example: Example) -> list[Tensor]:
        """Run the model in its own dtype; errors of its forward pass through."""
        return self._run(self.model, example)

    def outputs_of_inputs(self, example: Example) -> set[int]:
        """Return which outputs are computed from the numbers of the inputs."""
        result, watch = followed(self.model, example)
        return watch.among(leaves_of(result, self._count), INPUTS)

    def normalizes_by_batch(self, example: Example) -> bool:
        """Tell whether some norm takes its statistics from several samples in eval mode."""
        with BatchStatistics() as watch:
            self.outputs(example)
        return watch.seen

    def accepts(self, example: Example) -> bool:
        """Tell whether the model itself runs on `example`."""
        try:
            self._run(self.model, example)
        except Exception:
            return False
        return True

    def is_random(self, example: Example) -> bool:
        """Tell whether two forwards on the same inputs differ."""
        runs = zip(self._run(self.model, example), self._run(self.model, example), strict=True)
        return any(
            not torch.equal(one.double().nan_to_num(), other.double().nan_to_num())
            for one, other in runs
        )

    def nudged_outputs(self, example: Example) -> list[Tensor]:
        """Run the model in its own dtype on inputs perturbed by one unit in the last place."""
        return self._run(self.model, self._floating(example).perturbed())

    def rounded_outputs(self, example: Example) -> list[Tensor] | None:
        """Run the same with its weights below float32 rounded anew; None where it has none."""
        if not any(map(is_below_float32, self.model.parameters())):
            return None
        with rounded_anew(self.model):
            return self.nudged_outputs(example)

    def native_outputs(self, example: Example) -> list[Tensor]:
        """Run the model in its own dtype, and keep what it rounds, if that can be watched."""
        try:
            with Roundings() as watch:
                outputs = self._run(self.model, example)
        except Exception:
            return self._run(self.model, example)
        if self.precision is not None:
            watch.eps, watch.may_jump = max(watch.eps, self.precision.eps), True
        self._roundings[example] = watch
        return outputs

    @property
    def _units(self) -> float:
        """How many units of float32 one unit of the precision is."""
        return max(1.0, self.precision.eps / _EPS) if self.precision else 1.0

    def _run(self, model: nn.Module, example: Example) -> list[Tensor]:
        if self.precision is None or model is self.exact:
            return outputs_of(model, example, self._count)
        with self.precision.lowering():
            outputs = outputs_of(model, example, self._count)
        return [self.precision.rounded_output(output) for output in outputs]

    def _floating(self, example: Example) -> Example:
        return as_floating(example, self._raw)

    def note(self, sentence: str) -> None:
        """Note, once, what could not be done as usual."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def exact_answers(self, example: Example) -> Answers | None:
        """Return the answers in float64 and what they are; None, with a note, if it cannot."""
        try:
            with ExactPrecision(), BoundedValues() as bounds, Selections() as choices:
                true = self._run(self.exact, example.in_double())
            return Answers(true, true, None, bounds.among(true), choices.among(true))
        except Exception as failure:
            self._run(self.model, example)  # raises where the input is the reason
            self.note(
                f"the model does not run in float64 ({first_line(failure)}): the tolerance is "
                "measured by perturbing its inputs by one unit in the last place"
            )
            return None
