"""The inputs that are compared: several batch sizes, other sizes, and stronger ones."""

import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.compared_inputs import Claim, ComparedInputs
from bnconvert.verification.files.onnx_runner import Feed
from bnconvert.verification.references.reference import Reference

X = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


class Threshold(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x > 9).float()


def names(model: nn.Module, shape: list[int | str | None], claim: Claim) -> list[str]:
    feed = Feed({"x": X}, {"x": 0})
    inputs = ComparedInputs(Reference(model), feed, {"x": shape}, claim)
    return [case.name for case in inputs.answers(Example.of((X,)), at_once=True)]


def test_a_dynamic_axis_is_compared_at_other_sizes() -> None:
    found = names(nn.ReLU(), ["batch", "length"], Claim())
    sizes = {name for name in found if "length" in name}
    assert sizes == {f"given rows, length {n}" for n in (5, 32, 1)}


def test_sizes_for_which_the_file_is_not_made_are_left_out() -> None:
    claim = Claim(holds=lambda example: len(example.args[0]) < 5)
    batches = [name.rpartition(" ")[2] for name in names(nn.ReLU(), ["batch", 3], claim)]
    assert max(map(int, batches)) == 4


def test_stronger_inputs_are_added_where_an_output_stays_the_same() -> None:
    assert not [n for n in names(nn.ReLU(), ["batch", 3], Claim()) if "times" in n]
    assert [n for n in names(Threshold(), ["batch", 3], Claim()) if "times" in n]


def test_one_name_is_a_list_of_one_and_allows_no_part_of_it() -> None:
    claim = Claim(allow_nonfinite="logits_aux")
    assert [*claim.allow_nonfinite] == ["logits_aux"]
    assert "logits" not in claim.allow_nonfinite
