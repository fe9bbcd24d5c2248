"""A reference that is a file: its outputs, and how far from them a right file may be.

Rounding is drawn anew by moving its inputs and weights by one unit in the last place, of the lower
precision where either file computes in one.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bnconvert.errors import ExportError, first_line
from bnconvert.graphs.example import Example, NamedTensor
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.files.onnx_moved_weights import with_moved_weights
from bnconvert.verification.files.onnx_outputs import bounded_outputs
from bnconvert.verification.files.onnx_runner import Feed, OnnxRunner
from bnconvert.verification.references.reference import SEED
from bnconvert.verification.rounding.perturbation import moved
from bnconvert.verification.tolerance import FACTOR, Answers

_RUNS = 8  # of the file, moved in ever new ways
_HELD = 2**30  # bytes that its copies may take, each with its weights moved anew
_FLOAT32 = float(torch.finfo(torch.float32).eps)


class ReferenceFile:
    """A file whose own numbers are the truth; it answers as a `Reference` that is a model does.

    Attributes:
        path: the file.
        moved: a copy of it whose weights are moved by rounding errors.
        notes: what could not be done as usual, and why.
    """

    def __init__(
        self, path: Path, runner: OnnxRunner, names: Sequence[str], eps: float, folder: Path
    ) -> None:
        """Write the copy, and load both.

        Args:
            path: the file.
            runner: the same, loaded.
            names: which of its inputs each tensor of an example is.
            eps: the unit in the last place of what either file computes in, the larger one.
            folder: for the copy; it must last as long as this is used.
        """
        self.path, self.moved, self.notes = path, folder / "moved.onnx", list[str]()
        self._runner, self._input_names, self._unit = runner, names, max(eps, _FLOAT32)
        weights = torch.Generator().manual_seed(SEED + 1)  # not as the inputs are moved
        with_moved_weights(path, self.moved, self._unit, weights)
        self._unoptimized = OnnxRunner(path, unoptimized=True)
        self._moved = OnnxRunner(self.moved)
        self._bounded = bounded_outputs(path)
        self._folder, self._redrawn = folder, list[OnnxRunner]()

    def fed(self, example: Example) -> list[NamedTensor]:
        """Return an example's tensors with the names of the file's inputs."""
        return list(zip(self._input_names, example.tensors(), strict=True))

    def feed(self, example: Example) -> Feed:
        """Return an example as the file takes it."""
        return self._runner.feed(self.fed(example))

    def answers_to(self, pool: Pool) -> dict[Case, Answers]:
        """Compute the answers case by case; the notes name cases that the file does not take.

        Raises:
            ExportError: it does not run on the given inputs.
        """
        found: dict[Case, Answers] = {}
        for case in pool.cases:
            try:
                found[case] = self.answers(case.example)
            except ExportError as failure:
                if case is pool.cases[0]:
                    raise
                self.note(f"the reference does not run on {case.name}: {first_line(failure)}")
        return found

    def answers_at_once(self, pool: Pool) -> None:
        """Return None: a file's kernels are others for other batches, so each case is run."""

    def answers_in_part(self, pool: Pool) -> None:
        """Return None for the same reason."""

    def answers(self, example: Example) -> Answers:
        """Run the file, also without optimizations, and moved.

        Raises:
            ExportError: it does not run on the example.
        """
        true = self._run(self._runner, example)
        other = _moved(example, self._unit, torch.Generator().manual_seed(SEED))
        native = self._run_or(true, self._unoptimized, example)
        perturbed = self._run_or(true, self._moved, other)
        return Answers(true, native, perturbed, self._bounded)

    def perturbed_answers(self, case: Case) -> Iterator[list[Tensor]]:
        """Yield outputs where roundings are drawn otherwise, as large as a file may err.

        The inputs are moved first, which costs little, then the weights too: another file folds
        them otherwise, and a part of few numbers shows that.
        """
        generator = torch.Generator().manual_seed(SEED)
        for place in range(2 * _RUNS):
            other = _moved(case.example, FACTOR * self._unit, generator)
            with contextlib.suppress(ExportError):  # it may refuse an index that was moved
                runner = self._moved if place < _RUNS else self._with_other_weights(place - _RUNS)
                yield self._run(runner, other)

    def _with_other_weights(self, place: int) -> OnnxRunner:
        """Return a copy whose weights are moved as far as a file may err, the same at each call."""
        size = sum(file.stat().st_size for file in self._folder.glob(f"{self.moved.name}*"))
        place %= max(1, min(_RUNS, _HELD // size))
        while len(self._redrawn) <= place:
            drawn = torch.Generator().manual_seed(SEED + 2 + len(self._redrawn))
            path = self._folder / f"redrawn_{len(self._redrawn)}.onnx"
            with_moved_weights(self.path, path, FACTOR * self._unit, drawn)
            self._redrawn.append(OnnxRunner(path))
        return self._redrawn[place]

    def outputs(self, example: Example) -> list[Tensor]:
        """Run the file as it is.

        Raises:
            ExportError: it does not run on the example.
        """
        return self._run(self._runner, example)

    def accepts(self, example: Example) -> bool:
        """Tell whether the file runs on an example."""
        try:
            self.outputs(example)
        except ExportError:
            return False
        return True

    def normalizes_by_batch(self, example: Example) -> bool:
        """Return False: what the file does to its rows is right, whatever it is."""
        return False

    def note(self, sentence: str) -> None:
        """Note, once, what could not be done as usual."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _run_or(self, instead: list[Tensor], runner: OnnxRunner, example: Example) -> list[Tensor]:
        """Run a version of the file; where it refuses other numbers, take these instead."""
        try:
            return self._run(runner, example)
        except ExportError:
            return instead

    def _run(self, runner: OnnxRunner, example: Example) -> list[Tensor]:
        outputs = runner.run(runner.feed(self.fed(example)))
        if isinstance(outputs, str):
            raise ExportError(f"{runner.name}: {outputs}; give inputs that it takes")
        return outputs


def _moved(example: Example, step: float, generator: torch.Generator) -> Example:
    """Return an example with each number moved by a step, no less than its own rounding."""
    return example.map(lambda tensor: moved(tensor, step, generator))
