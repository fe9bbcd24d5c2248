import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnconvert as bnc
from tests.disguises import (
    CHANNELS,
    PLACES,
    Branching,
    ByHand,
    Detached,
    FromScratch,
    FrozenBatchNormInName,
    Halved,
    Held,
    Made,
    OwnBuffers,
    Sliced,
    Styled,
    network,
)

X = torch.randn(16, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 5


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
@pytest.mark.parametrize("norm", [Sliced, Detached, Branching, OwnBuffers, FrozenBatchNormInName])
def test_statistics_that_a_forward_uses_in_disguise_are_measured(
    norm: type[nn.Module], method: str
) -> None:
    model = network(norm())
    bnc.recompute_statistics(model, X.split(4), method=method)  # type: ignore[arg-type]
    (mean,) = [b for n, b in model.named_buffers() if n.endswith("running_mean")]
    with torch.no_grad():
        torch.testing.assert_close(mean, model.get_submodule("0")(X).mean((0, 2, 3)))


def with_parameter(name: str) -> nn.Module:
    """Return a norm that holds one of its statistics as a parameter."""
    norm = nn.BatchNorm2d(CHANNELS)
    numbers = norm.get_buffer(name)
    delattr(norm, name)
    norm.register_parameter(name, nn.Parameter(numbers, requires_grad=False))
    return norm


@pytest.mark.parametrize("method", ["layerwise", "aggregate", "ema"])
@pytest.mark.parametrize(
    ("norm", "reason"),
    [
        (Halved, r"1\.bn: the forward normalizes by a part of its statistics \(2 of 4 channels\)"),
        (ByHand, r"1\.bn: its statistics are used by view and not by F\.batch_norm"),
        (FromScratch, "1: FromScratch does not keep its statistics as batch norm does"),
        (lambda: with_parameter("running_mean"), "1: BatchNorm2d does not keep its statistics as"),
        (lambda: with_parameter("running_var"), "1: BatchNorm2d does not keep its statistics as"),
        (lambda: Held(PLACES["norm.0"]), r"1\.norm\.0: it is held by a plain attribute"),
        (Made, "1: makes a batch norm in its forward"),
        (Styled, "1: calls F.batch_norm without running statistics"),
        (lambda: nn.InstanceNorm2d(CHANNELS, track_running_stats=True), "1: an instance norm"),
    ],
)
def test_where_nothing_can_be_measured_there_is_an_error_with_the_reason(
    norm: type[nn.Module], reason: str, method: str
) -> None:
    with pytest.raises(bnc.StatisticsError, match=reason):
        bnc.recompute_statistics(network(norm()), [X], method=method)  # type: ignore[arg-type]


class Mixed(nn.Module):
    """A norm that is measured, beside others that are not."""

    mu: Tensor
    sigma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.styled = nn.BatchNorm2d(3), Styled()
        self.register_buffer("mu", torch.zeros(3))
        self.register_buffer("sigma", torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.styled(self.bn(x)) + F.batch_norm(x, self.mu, self.sigma)
        return y


@pytest.mark.parametrize("method", ["layerwise", "aggregate"])
def test_beside_a_measured_norm_what_is_not_is_named(method: str) -> None:
    report = bnc.recompute_statistics(Mixed(), [X], method=method).report  # type: ignore[arg-type]
    assert [row.path for row in report.statistics] == ["bn"]
    notes = " ".join(report.notes)
    assert "styled: normalizes by its input's own statistics" in notes
    assert "(root): normalizes by running statistics (3 channels) of no norm of the model" in notes


def test_a_diagnosis_sees_them_too() -> None:
    report = bnc.diagnose(network(Sliced()), X.repeat(4, 1, 1, 1).split(16))
    assert [row.path for row in report.statistics] == ["1.bn", "1.bn"]
    assert "BN201" in {finding.id for finding in report.findings}
    with pytest.raises(bnc.StatisticsError, match="a part of its statistics"):
        bnc.diagnose(network(Halved()), [X])


def test_weights_that_are_standardized_are_no_normalization() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
            return F.conv2d(x, weight, self.bias)

    model = nn.Sequential(Standardized(3, 4, 3), nn.BatchNorm2d(4))
    assert bnc.recompute_statistics(model, [torch.randn(4, 3, 8, 8)]).report.notes == ()
