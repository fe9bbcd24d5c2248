"""A traced file computes what the model does where another number of rows is kept."""

from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file
from bnconvert.graphs.capture.capturing import capture
from bnconvert.graphs.capture.parts import capture_parts
from bnconvert.graphs.capture.traceability import decided_size
from bnconvert.graphs.example import Example
from tests.zoo import trained


class Head(nn.Module):
    """A convolution and a norm, and what is made of the rows."""

    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.finish = finish

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(self.body(x))


class Detector(nn.Module):
    """Its head gets as many rows as values say; it cannot be captured whole."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        if float(x.sum()) > 1e9:
            y = y * 2
        kept: Tensor = self.head(y[torch.nonzero(x[:, 0, 0, 0] > 0).flatten()])
        return kept


def mean(y: Tensor) -> Tensor:
    return y.sum(0) / y.shape[0]


def flattened(y: Tensor) -> Tensor:
    return y.view(y.shape[0], -1)


def plain(y: Tensor) -> Tensor:
    return y.relu().mean((2, 3))


def keeping(count: int) -> Tensor:
    images = torch.randn(7, 3, 4, 4)
    images[:, 0, 0, 0] = torch.where(torch.arange(7) < count, 1.0, -1.0)
    return images


def detector(finish: Callable[[Tensor], Tensor]) -> nn.Module:
    torch.manual_seed(0)
    return trained(Detector(Head(finish)))


@pytest.mark.parametrize("given", [1, 4])
@pytest.mark.parametrize("finish", [mean, flattened, plain])
def test_other_numbers_of_kept_rows_give_what_the_model_gives(
    finish: Callable[[Tensor], Tensor], given: int, tmp_path: Path
) -> None:
    model, path = detector(finish), tmp_path / "m.onnx"
    assert bnc.export(model, (keeping(given),), path).verdict == "agrees"
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for count in (1, 2, 3, 4, 5):
        images = keeping(count)
        (found,) = session.run(None, {name: images.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(found), model(images))


@pytest.mark.parametrize(
    ("finish", "parts", "said"),
    [
        (mean, ["stem", "head.body"], "its graph computes with a size that depends on values"),
        (plain, ["stem", "head"], None),
    ],
)
def test_a_part_is_left_where_its_graph_would_fix_a_size_and_what_is_in_it_is_folded(
    finish: Callable[[Tensor], Tensor], parts: list[str], said: str | None
) -> None:
    found, notes = capture_parts(detector(finish), Example.of((keeping(4),)), any_size=False)
    assert [part.path for part in found] == parts
    left = [note for note in notes if note.startswith("head is not folded as a whole: ")]
    assert bool(left) == bool(said)
    assert all(said in note for note in left if said)


@pytest.mark.parametrize("given", [0, 1])
def test_a_part_that_got_one_row_or_none_is_captured_with_more(given: int, tmp_path: Path) -> None:
    """A capture takes these sizes for constants."""
    model, path = detector(plain), tmp_path / "m.onnx"
    found, notes = capture_parts(model, Example.of((keeping(given),)), any_size=False)
    assert [part.path for part in found] == ["stem", "head"]
    assert not [note for note in notes if "is not folded as a whole" in note]
    found, _ = capture_parts(detector(mean), Example.of((keeping(given),)), any_size=False)
    assert [part.path for part in found] == ["stem", "head.body"]
    assert bnc.export(model, (keeping(1),), path).facts["folded"] == 2


def test_a_fold_in_torch_takes_such_parts_as_before() -> None:
    model = detector(mean)
    folded = bnc.fold(model, (keeping(4),))
    assert [part.path for part in folded.parts] == ["stem", "head"]
    images = keeping(3)
    torch.testing.assert_close(folded.module(images), model(images))


class Few(nn.Module):
    """It treats few rows otherwise, which a graph does not show."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y if x.shape[0] > 3 else -y


class One(nn.Module):
    """Its graph is for the rows that it got, by Python's own arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y / len(range(x.shape[0]))


@pytest.mark.parametrize(
    ("head", "said"),
    [(Few(), "only where x.shape[0] > 3"), (One(), "is for size 4 of axis 0 of an input only")],
)
def test_a_graph_that_holds_for_some_sizes_is_left(head: nn.Module, said: str) -> None:
    model = trained(Detector(head))
    found, notes = capture_parts(model, Example.of((keeping(4),)), any_size=False)
    assert [part.path for part in found] == ["stem", "head.body"]
    (note,) = (note for note in notes if note.startswith("head is not folded"))
    assert said in note


class Mean(nn.Module):
    """A norm, and the mean of the places of positive numbers; it is captured whole."""

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        self.norm, self.counts = nn.BatchNorm1d(4), counts

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.nonzero(x.flatten() > 0).flatten()
        return self.norm(x), places.sum() / places.shape[0] if self.counts else places.sum()


@pytest.mark.parametrize("counts", [True, False])
def test_a_whole_graph_that_computes_with_a_size_of_its_own_is_not_traced(
    *, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise bnc.ExportError("no kernel for it")

    monkeypatch.setattr(onnx_file, "write", refuse)
    model, example = trained(Mean(counts=counts)), (torch.randn(5, 4),)
    assert bool(decided_size(capture(model, Example.of(example)).module)) == counts
    if counts:
        with pytest.raises(bnc.ExportError, match="no kernel for it"):
            bnc.export(model, example, tmp_path / "m.onnx")
    else:
        found = bnc.export(model, example, tmp_path / "m.onnx").findings
        assert "BN412" in {finding.id for finding in found}
