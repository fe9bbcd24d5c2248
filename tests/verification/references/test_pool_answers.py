"""Of large rows one is computed in float64, the others only where a file is not plainly right."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.verification.cases import Case, Pool
from bnconvert.verification.files.onnx_runner import Feed, OnnxRunner
from bnconvert.verification.references.reference import Reference
from bnconvert.verification.tolerance import Answers, Tolerance
from bnconvert.verification.verdict import Judge
from bnconvert.verification.verification import prove
from tests.zoo import trained

IMAGES = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


def masks() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    return trained(nn.Sequential(*layers))


def classes() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 9))
    return nn.Sequential(*layers).eval()


class LessTheMean(nn.Module):
    """Subtracts a little of the batch's mean."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.layer, self.share = nn.Conv2d(3, 2, 3, stride=4), share

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y - self.share * y.mean(0)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many rows each forward in float64 has."""
    rows: list[int | None] = []
    usual = Reference.exact_answers

    def watched(self: Reference, example: Example) -> Answers | None:
        rows.append(example.batch)
        return usual(self, example)

    monkeypatch.setattr(Reference, "exact_answers", watched)
    return rows


@pytest.mark.parametrize(("make", "rows"), [(masks, [1]), (classes, [5])])
def test_one_image_is_computed_in_float64_where_channels_have_many_numbers(
    make: object, rows: list[int], exact: list[int | None], tmp_path: Path
) -> None:
    assert callable(make)
    report = bnc.export(make(), (IMAGES,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert exact == rows


@pytest.mark.parametrize("batch", [2, 4, 5])
@pytest.mark.parametrize("size", [1e-1, 1e-5])
def test_a_fault_in_a_row_that_is_not_is_caught_with_all_rows_in_float64(
    batch: int,
    size: float,
    exact: list[int | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, path, usual = masks(), tmp_path / "m.onnx", OnnxRunner.run
    bnc.export(model, (IMAGES,), path)
    exact.clear()

    def faulty(
        self: OnnxRunner, feed: Feed, names: Sequence[str] | None = None
    ) -> list[Tensor] | str:
        outputs = usual(self, feed, names)
        assert not isinstance(outputs, str)
        if len(outputs[0]) == batch:
            outputs[0][batch - 1] *= 1 + size
        return outputs

    monkeypatch.setattr(OnnxRunner, "run", faulty)
    report = prove(model, Example.of((IMAGES,)), path).report
    assert report.verdict == "differs"
    assert {check.case.partition(", batch ")[2][0] for check in report.failures} == {str(batch)}
    assert exact == [1, 5]


@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-5])
def test_rows_that_depend_on_one_another_are_not_taken_for_their_own(
    share: float, exact: list[int | None], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    report = bnc.export(LessTheMean(share).eval(), (IMAGES,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert exact[:3] == [1, 5, 2], "one row does not do, nor all at once: each batch by itself"


def runs(truth: Tensor, own: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the model's outputs and a file's, which err by own and other draws of any size."""
    draw = torch.Generator().manual_seed(1)

    def off(size: Tensor) -> Tensor:
        noise = torch.randn(truth.shape, generator=draw, dtype=torch.float64)
        return (truth + noise * size * truth.square().mean().sqrt()).float()

    for _ in range(90):
        rows = own * 10 ** (torch.rand(len(truth), 1, 1, generator=draw, dtype=torch.float64))
        file = rows * 10 ** (torch.rand(1, generator=draw, dtype=torch.float64) - 0.2)
        yield off(rows), off(file)


def test_a_file_that_holds_by_few_rows_in_float64_holds_by_all_of_them() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(4, 3, 300, generator=draw, dtype=torch.float64)
    truth[:, 2] *= 1e-3
    (case,) = Pool.of(Example.of((truth.float(),)), 4, draw).cases[:1]
    held = 0
    for native, file in runs(truth, 1e-6):
        mixed = torch.cat([truth[:1], native[1:].double()])
        partial, full = Answers([mixed], [native], partial=True), Answers([truth], [native])
        if _holds(case, partial, file):
            held += 1
            assert _holds(case, full, file)
    assert held > 5


def _holds(case: Case, answers: Answers, file: Tensor) -> bool:
    known = {case: answers}
    judge = Judge(["y"], known, Tolerance.of(known.values()), lambda _: ())
    return not judge.judge({case: [file]}).fails(case)
