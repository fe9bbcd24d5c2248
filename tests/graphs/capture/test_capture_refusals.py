"""What is said where no capture succeeded."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import bnconvert as bnc

X = (torch.randn(2, 6, generator=torch.Generator().manual_seed(0)),)
ANY = ({0: Dim("batch"), 1: Dim("length")},)


class Fixed(nn.Module):
    """Takes six channels; by its input it may do something that no graph holds."""

    def __init__(self, asks: bool = False) -> None:
        super().__init__()
        self.norm, self.asks = nn.BatchNorm1d(6), asks

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return -y if self.asks and float(y.sum()) > 0 else y


def said(model: nn.Module, shapes: object = None) -> str:
    with pytest.raises(bnc.CaptureError) as failure:
        bnc.fold(model.eval() if isinstance(model, Fixed) else model, X, dynamic_shapes=shapes)
    return str(failure.value)


def test_of_a_model_torchs_own_words_say_which_size_cannot_vary() -> None:
    words = said(Fixed(), ANY)
    assert "Fixed: torch.export cannot capture it with the given dynamic_shapes" in words
    assert "length" in words
    assert "change them as torch says, or leave them out" in words


def test_a_graph_can_be_given_no_other_sizes_and_its_model_is_to_be_captured_again() -> None:
    module = torch.export.export(Fixed().eval(), X).module()
    words = said(module, ANY)
    assert "a graph may have no other sizes than it was captured for" in words
    assert "as torch says" not in words
    assert len(words) < 600


def test_where_the_shapes_are_not_the_reason_both_are_said() -> None:
    words = said(Fixed(asks=True), ANY)
    assert "neither with the given dynamic_shapes (" in words
    assert "nor without (a fixed batch size: " in words


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_part_in_torchscript_is_named_in_place_of_what_torch_says_of_its_weights() -> None:
    model = nn.Sequential(torch.jit.script(nn.Linear(6, 4)), nn.ReLU()).eval()
    words = said(model)
    assert words.startswith(
        "Sequential: torch.export cannot capture it, because 0 is TorchScript; put the module there"
    )
