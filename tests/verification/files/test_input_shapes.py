"""What a file says where inputs have other shapes than its own."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.verification.files.input_shapes import misfit

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CHANNELS_LAST = X.permute(0, 2, 3, 1).contiguous()


class ChannelsLast(nn.Module):
    """Takes images as other frameworks have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x.permute(0, 3, 1, 2))
        return y


def test_a_file_whose_channels_come_last_says_so_and_what_to_compare_it_with(
    tmp_path: Path,
) -> None:
    model, path, first = ChannelsLast().eval(), tmp_path / "last.onnx", tmp_path / "first.onnx"
    bnc.export(model, (CHANNELS_LAST,), path)
    bnc.export(model.net, (X,), first)
    for reference in (model.net, first):
        with pytest.raises(bnc.ExportError) as failure:
            bnc.verify(reference, path, (X,))
        assert "last.onnx: its input x is (batch, 8, 8, 3), and (2, 3, 8, 8) was given" in str(
            failure.value
        )
        assert "begins with x.permute(0, 3, 1, 2)" in str(failure.value)
    assert bnc.verify(model, path, (CHANNELS_LAST,)).verdict == "agrees"


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (["batch", 3, 9, 9], "its input x is (batch, 3, 9, 9), and (2, 3, 8, 8) was given; give"),
        ([None, 3], "its input x is (any, 3), and (2, 3, 8, 8) was given; give"),
        ([2, 3, "height", 8], "does not take inputs of shape x (2, 3, 8, 8) (too small); give"),
    ],
)
def test_sizes_that_differ_are_named(own: list[int | str | None], words: str) -> None:
    assert str(misfit("m.onnx", {"x": X}, {"x": own}, "too small")).startswith(f"m.onnx: {words}")
