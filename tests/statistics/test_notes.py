import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc


class Sometimes(nn.Module):
    """Norms that not every batch reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.rare = nn.BatchNorm1d(3), nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 4:
            return x
        y: Tensor = self.bn(x)
        return self.rare(y) if len(x) > 8 else y


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_batches_that_reach_no_norm_or_are_empty_are_named(method: str) -> None:
    x = torch.randn(8, 3)
    batches = [x, x[:2], x[:0], x]
    report = bnc.recompute_statistics(Sometimes(), batches, method=method).report  # type: ignore[arg-type]
    assert [(row.path, row.samples) for row in report.statistics] == [("bn", 16)]
    notes = list(report.notes)
    assert "batch 1 skipped: none of its values reached a norm that is measured" in notes
    assert "left out, because they are empty: batch 2" in notes
    assert "rare: left alone: no batch reached it" in notes


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
def test_where_no_batch_reaches_any_norm_there_is_an_error_and_nothing_changes(method: str) -> None:
    model = Sometimes()
    with pytest.raises(bnc.StatisticsError, match="no statistics were measured\n  bn: no batch"):
        bnc.recompute_statistics(model, [torch.randn(2, 3)] * 3, method=method)  # type: ignore[arg-type]
    assert torch.equal(model.bn.get_buffer("running_mean"), torch.zeros(3))
    assert int(model.bn.get_buffer("num_batches_tracked")) == 0


class Adapted(nn.Module):
    """As PEFT wraps a model: one of two norms is saved whole with the adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.peft_config = {"default": "lora"}
        saved = nn.Module()
        saved.modules_to_save = nn.ModuleDict({"default": nn.BatchNorm1d(3)})
        self.base_model = nn.Module()
        self.base_model.model = nn.ModuleDict({"free": nn.BatchNorm1d(3), "kept": saved})

    def forward(self, x: Tensor) -> Tensor:
        free = self.get_submodule("base_model.model.free")
        y: Tensor = self.get_submodule("base_model.model.kept.modules_to_save.default")(free(x))
        return y


def test_statistics_that_an_adapters_file_will_not_hold_are_named() -> None:
    report = bnc.recompute_statistics(Adapted(), [torch.randn(8, 3)]).report
    (note,) = (note for note in report.notes if "ADAPTER" in note)
    assert note.startswith("base_model.model.free: NOT SAVED WITH THE ADAPTER: ")
    assert 'give modules_to_save=["free"] in its config, or save the whole model' in note
