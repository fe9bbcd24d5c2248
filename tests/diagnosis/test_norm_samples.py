import pytest
import torch
from torch import Tensor, nn

from bnconvert.diagnosis.norm_samples import ArrivalWatch, NormSamples
from bnconvert.statistics.targets import find_targets


def watched(model: nn.Module, *batches: Tensor) -> tuple[ArrivalWatch, tuple[NormSamples, ...]]:
    watch = ArrivalWatch(find_targets(model))
    for index, batch in enumerate(batches):
        with torch.no_grad(), watch.watching(model, index):
            model(batch)
    return watch, watch.samples()


def test_samples_are_their_means_over_positions_in_sigma() -> None:
    norm = nn.BatchNorm2d(3).eval()
    norm.get_buffer("running_mean").fill_(1)
    norm.get_buffer("running_var").fill_(4)
    x = torch.randn(5, 3, 4, 4) * 2 + 1
    _, (found,) = watched(norm, x[:3], x[3:])
    wanted = (x.mean((2, 3)) - 1) / (4 + 1e-5) ** 0.5
    torch.testing.assert_close(found.means, wanted.double(), rtol=1e-5, atol=1e-6)
    assert [len(means) for means in found.by_batch.values()] == [3, 2]
    assert found.peak == pytest.approx(float(x.abs().max()))
    assert (found.path, found.dtype, found.single) == ("(root)", torch.float32, ())


def test_of_many_channels_some_are_looked_at() -> None:
    _, (found,) = watched(nn.BatchNorm1d(130).eval(), torch.randn(4, 130))
    assert found.means.shape == (4, 44)


def test_a_single_value_and_values_that_are_not_finite_are_noted() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).eval()
    bad = torch.tensor([[0.0, float("inf")], [1.0, 2.0]])
    watch, found = watched(model, torch.ones(1, 2), bad, torch.ones(0, 2), torch.ones(3, 2))
    assert watch.broken == {1: ("0", torch.float32)}
    assert [norm.single for norm in found] == [(0,), (0,)]
    assert [[*norm.by_batch] for norm in found] == [[0, 3], [0, 3]]


def test_of_several_calls_the_first_is_taken() -> None:
    norm = nn.BatchNorm1d(2).eval()
    x = torch.randn(4, 2)
    _, (found,) = watched(nn.Sequential(norm, nn.ReLU(), norm).eval(), x)
    torch.testing.assert_close(found.means, x.double(), rtol=1e-4, atol=1e-5)
