"""What may be given as batches, and what is refused."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc


class TwoInputs(nn.Module):
    """Takes two inputs, and normalizes their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
        y: Tensor = self.bn(left + scale * right)
        return y


def test_batches_may_be_tensors_tuples_lists_mappings_or_anything_with_forward() -> None:
    x, y, labels = torch.randn(12, 3), torch.randn(12, 3), torch.zeros(12)
    wanted = (x + y).mean(0)
    for batch in ((x, y), [x, y], (x, y, labels), {"left": x, "right": y}):
        model = TwoInputs()
        bnc.recompute_statistics(model, [batch])
        torch.testing.assert_close(model.bn.running_mean, wanted)
    model = TwoInputs()
    bnc.recompute_statistics(model, [((x, y), 1)], forward=lambda m, batch: m(*batch[0]))
    torch.testing.assert_close(model.bn.running_mean, wanted)
    dataset = torch.utils.data.TensorDataset(x, labels)
    norm = nn.BatchNorm1d(3)
    bnc.recompute_statistics(norm, torch.utils.data.DataLoader(dataset, batch_size=5))
    torch.testing.assert_close(norm.running_mean, x.mean(0))


def test_what_are_no_batches_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    norm = nn.BatchNorm1d(3)
    for wrong in (torch.randn(4, 3), {"x": torch.randn(4, 3)}, "data", 3):
        with pytest.raises(bnc.StatisticsError, match=r"batches is a \w+; give an iterable of"):
            bnc.recompute_statistics(norm, wrong)  # type: ignore[arg-type]
    few = [(torch.randn(4, 3),), (torch.randn(4, 3), 1, 2)]
    model = nn.ModuleDict({"norm": norm})
    monkeypatch.setattr(model, "forward", lambda *inputs: norm(inputs[0]))
    with pytest.raises(
        bnc.StatisticsError, match=r"3 elements and ModuleDict\.forward takes any number"
    ):
        bnc.recompute_statistics(model, few)


def test_an_infinite_loader_ends_at_max_samples_and_a_short_one_is_fine() -> None:
    read: list[int] = []

    def endless() -> Iterator[Tensor]:
        while True:
            read.append(1)
            yield torch.randn(10, 3)

    norm = nn.BatchNorm1d(3)
    result = bnc.recompute_statistics(norm, endless(), max_samples=25)
    assert result.report.statistics[0].samples == 30
    assert len(read) == 3
    short = bnc.recompute_statistics(norm, [torch.randn(10, 3)], max_samples=1000)
    assert short.report.statistics[0].samples == 10
    with pytest.raises(bnc.StatisticsError, match="max_samples is 0; give a positive number"):
        bnc.recompute_statistics(norm, endless(), max_samples=0)
