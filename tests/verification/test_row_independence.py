"""A row of a file may depend on its batch only where the model's own row does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained

X = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


class Mixing(nn.Module):
    """A layer, and something that mixes the rows of its output on purpose."""

    def __init__(self, mix: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.norm, self.mix = nn.Linear(6, 5), nn.BatchNorm1d(5), mix

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.norm(self.layer(x)))


MIXES: dict[str, Callable[[Tensor], Tensor]] = {
    "a Gram matrix": lambda y: y @ y.t(),
    "the batch's mean": lambda y: y - y.mean(0),
    "a sort over the batch": lambda y: y.sort(0).values,
    "a softmax over the batch": lambda y: y.softmax(0),
    "a running sum over frames": lambda y: y.cumsum(0),
    "neighbours in time": lambda y: y + y.roll(1, 0),
    "the next row": lambda y: torch.cat([y[1:], y[1:2]]),
    "the identity of the batch's size": lambda y: torch.eye(y.shape[0]) @ y * y.shape[0],
}


@pytest.mark.parametrize("name", MIXES)
def test_rows_that_the_model_mixes_itself_are_not_asked_of_the_file(
    name: str, tmp_path: Path
) -> None:
    report = bnc.export(trained(Mixing(MIXES[name])), (X,), tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    rows = {check.case for check in report.checks if check.measure == "rows"}
    assert not [case for case in rows if case.startswith("row 32")], "the last row needs the others"
    alone = name == "the next row"  # of which a batch of one has none
    said = "no row was compared" if alone else "batches: the model's own depend on"
    assert [note for note in report.notes if said in note]


def test_two_inputs_with_as_many_rows_are_compared_with_each_other(tmp_path: Path) -> None:
    class Contrastive(Mixing):
        def forward(self, image: Tensor, text: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(image) @ super().forward(text).t()

    report = bnc.export(trained(Contrastive(lambda y: y)), (X, X + 1), tmp_path / "m.onnx")
    assert report.verdict == "agrees"


def test_time_first_is_no_batch(tmp_path: Path) -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(6, 8, 3, padding=1), nn.BatchNorm1d(8)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.conv(x.permute(1, 2, 0)))
            return y.permute(2, 0, 1)

    shapes = ({1: torch.export.Dim.DYNAMIC},)
    for given in (None, shapes):
        report = bnc.export(
            trained(Tagger()),
            (torch.randn(16, 2, 6),),
            tmp_path / "m.onnx",
            dynamic_shapes=given,
        )
        assert report.verdict == "agrees"


def test_a_norm_that_takes_the_batchs_statistics_still_fails(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5, track_running_stats=False)).eval()
    with pytest.raises(bnc.VerificationError, match="depends on the rest of its batch"):
        bnc.export(model, (X,), tmp_path / "m.onnx")


def test_a_file_that_mixes_rows_which_the_model_does_not_is_caught(tmp_path: Path) -> None:
    model = trained(Mixing(lambda y: y))
    mixing = trained(Mixing(lambda y: y + 1e-3 * y.mean(0)))
    mixing.load_state_dict(model.state_dict())
    bnc.export(mixing, (X,), tmp_path / "m.onnx")
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, tmp_path / "m.onnx", (X,))
