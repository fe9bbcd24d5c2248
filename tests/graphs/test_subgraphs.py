"""What a forward does under another mode is part of the graph; what stays apart is listed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.excerpts import capture_of
from tests.zoo import IMAGE, trained


class Regions(nn.Module):
    """A convolution and a norm, twice, the second pair as `kind` says."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.last = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.conv(x)))
        result: Tensor = getattr(self, self.kind)(y)
        return result.mean((2, 3))

    def pair(self, y: Tensor) -> Tensor:
        result: Tensor = self.last(self.second(y))
        return result

    def autocast_off(self, y: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            output: Tensor = self.act(self.pair(y))
            return output

    def changed_in_place_by_slices(self, y: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            y = self.pair(y)
            y[:, 0].mul_(2)
            return y

    def with_gradients(self, y: Tensor) -> Tensor:
        with torch.enable_grad():
            output: Tensor = self.act(self.pair(y))
            return output

    def nested(self, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y = y + 1
            with torch.autocast("cpu", enabled=False):
                return self.pair(y) + y

    def two_results(self, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y, z = self.pair(y), y + 1
        return y + z


INLINED = [name for name in vars(Regions) if name not in ("forward", "pair") and name[0] != "_"]


def test_a_region_goes_into_the_file_folded(tmp_path: Path) -> None:
    report = bnc.export(trained(Regions("autocast_off")), IMAGE, tmp_path / "m.onnx")
    assert report.facts["BatchNormalization nodes"] == 0


class Protected(nn.Module):
    """A part that is protected from bfloat16, inside one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.quick, self.exact = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.body(x).mean((2, 3))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            quick = self.quick(y)
            with torch.autocast("cpu", enabled=False):
                exact = self.exact(y)
        return quick, exact


def test_what_is_protected_from_another_dtype_stays_so() -> None:
    model = trained(Protected())
    folded = bnc.fold(model, IMAGE)
    with torch.no_grad():
        for found, expected in zip(folded.module(*IMAGE), model(*IMAGE), strict=True):
            assert found.dtype is expected.dtype
            torch.testing.assert_close(found, expected)


def test_a_captured_graph_is_not_protected_any_more_and_says_so() -> None:
    notes = bnc.fold(trained(Regions("autocast_off")), IMAGE).report.notes
    assert "its forward switches autocast off: run what is captured without autocast" in notes
    assert bnc.fold(trained(Regions("with_gradients")), IMAGE).report.notes == ()


class Branch(Regions):
    """The second pair is in a branch of the graph, which reads the first convolution too."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        result: Tensor = torch.cond(y.sum() > 0, self.taken, self.pair, (y,))
        return result.mean((2, 3))

    def taken(self, y: Tensor) -> Tensor:
        return self.pair(self.conv(y))


def outcomes(model: nn.Module, x: Tensor) -> dict[str, list[tuple[str, int | None]]]:
    """Fold, compare, and return outcome and number of calls by the path of each norm."""
    folded = bnc.fold(model, (x,))
    with torch.no_grad():
        torch.testing.assert_close(folded.module(x), model(x))
    found: dict[str, list[tuple[str, int | None]]] = {}
    for row in folded.report.norms:
        found.setdefault(row.path, []).append((row.outcome, row.calls))
    return found


@pytest.mark.parametrize("kind", INLINED)
def test_a_region_that_only_switches_a_mode_is_part_of_the_graph(kind: str) -> None:
    model = trained(Regions(kind))
    assert outcomes(model, IMAGE[0]) == {"norm": [("folded", 1)], "last": [("folded", 1)]}
    names = [name for name, _ in capture_of(model, IMAGE).module.named_modules()]
    assert not [name for name in names if name.startswith("submod")]


@pytest.mark.parametrize("sign", [-1, 1])
def test_norms_in_a_branch_of_the_graph_are_seen_and_stand(sign: int, tmp_path: Path) -> None:
    model = trained(Branch(""))
    nn.init.constant_(model.get_parameter("norm.bias"), sign * 100.0)
    assert outcomes(model, IMAGE[0]) == {
        "norm": [("folded", 1)],
        "last": [("standing", 2), ("standing", 2)],
    }
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    (_, *rows) = report.norms
    assert {row.reason.partition(": ")[2] for row in rows} == {
        "it is called inside cond, and folds do not look inside"
    }


def test_a_graft_leaves_what_a_branch_of_the_graph_calls() -> None:
    model = trained(Branch(""))
    folded = bnc.fold(model, IMAGE)
    with torch.no_grad():
        torch.testing.assert_close(folded.graft(model)(*IMAGE), model(*IMAGE))
    reasons = {row.path: (row.outcome, row.reason) for row in folded.graft_report(model).norms}
    assert reasons == {
        "norm": ("standing", "its layer's weight is also read by cond"),
        "last": ("standing", "it is called inside cond, and folds do not look inside"),
    }
