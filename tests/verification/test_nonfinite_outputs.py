"""Outputs that are not finite: the cause is named, and not what follows from it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import trained

X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
NAN, INFINITY = float("nan"), float("inf")


class Masked(nn.Module):
    """A convolution, a norm, and a mask that holds infinity as those of attention do."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("mask", torch.tensor([0.0, 0.0, 0.0, -INFINITY]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.layer(x)) * 10
        return y + self.mask.isinf()


def setting(name: str, value: float, *, all_of_it: bool = False) -> Callable[[nn.Module], Tensor]:
    def change(model: nn.Module) -> Tensor:
        tensor = dict([*model.named_parameters(), *model.named_buffers()])[name]
        with torch.no_grad():
            tensor[... if all_of_it else 0] = value
        return X

    return change


def of_input(model: nn.Module) -> Tensor:
    return torch.full_like(X, NAN)


@pytest.mark.parametrize(
    ("change", "words", "remedy"),
    [
        (of_input, ", and so is the given input x", "give inputs that are finite"),
        (setting("layer.weight", NAN, all_of_it=True), "so is layer.weight", "that are finite"),
        (setting("norm.running_mean", NAN), "so is norm.running_mean", "that are finite"),
        (setting("norm.running_var", -1.0), ": norm.running_var is negative", "variances are not"),
        (setting("norm.bias", 3e38), "in 32 of 128 entries on the given inputs", "overflow"),
    ],
)
def test_the_cause_is_named_and_what_follows_from_it_is_not(
    change: Callable[[nn.Module], Tensor], words: str, remedy: str, tmp_path: Path
) -> None:
    model = trained(Masked())
    with pytest.raises(bnc.InconclusiveError) as failure:
        bnc.export(model, (change(model),), tmp_path / "m.onnx")
    findings = failure.value.report.findings
    (found,) = [finding for finding in findings if finding.id == "BN414"]
    assert words in found.message
    assert remedy in found.fix
    if " in 128 of 128 entries" in found.message:
        assert "BN413" not in {finding.id for finding in findings}
