"""An output that is computed from an input's numbers has to move; one of its sizes need not."""

import pytest
import torch
from torch import Tensor, nn

from bnconvert.graphs.example import Example
from bnconvert.verification.references.dependence import INPUTS, Dependence, followed


def watched(x: Tensor) -> tuple[set[int], int]:
    with Dependence({INPUTS: [x]}) as watch:
        kept = torch.zeros(3)
        kept[1] = x[0]
        outputs = [
            x + 1, (x > 5).nonzero(), x.argmax(), torch.ones_like(x), x.new_zeros(2),
            torch.arange(len(x)), x[1:].view(-1), kept, torch.full((2,), 3.0),
        ]  # fmt: skip
    return watch.among(outputs, INPUTS), len(outputs)


def test_values_are_followed_through_views_writes_and_comparisons() -> None:
    assert watched(torch.randn(4))[0] == {0, 1, 2, 6, 7}


def test_where_a_number_becomes_pythons_every_output_may_depend_on_it() -> None:
    x = torch.randn(4)
    with Dependence({INPUTS: [x]}) as watch:
        outputs = [torch.full((2,), x.sum().item())]
    assert watch.among(outputs, INPUTS) == {0}
    assert watch.read == {INPUTS}


@pytest.mark.parametrize("count", [1, 50])
def test_memory_that_is_used_again_is_not_taken_for_theirs(count: int) -> None:
    x = torch.randn(1000)
    with Dependence({INPUTS: [x]}) as watch:
        for _ in range(count):
            x * 2
        outputs = [torch.zeros(1000) for _ in range(10)]
    assert watch.among(outputs, INPUTS) == set()


def test_sources_are_told_apart_and_memory_may_have_several() -> None:
    x, w, v = torch.randn(2, 3), torch.randn(3, 3), torch.randn(3)
    with Dependence({"x": [x], "w": [w], "v": [v], "both": [w, v]}) as watch:
        found = [watch.of(y) for y in (x @ w, x + v, w.relu(), torch.ones(2), 3.0)]
    assert [set(sources) for sources in found] == [
        {"x", "w", "both"},
        {"x", "v", "both"},
        {"w", "both"},
        set(),
        set(),
    ]


def test_sources_whose_numbers_decide_a_size_are_noted() -> None:
    x, w, i = torch.randn(5), torch.randn(5), torch.tensor([1, 2])
    with Dependence({"x": [x], "w": [w], "i": [i]}) as watch:
        w[i]  # as many as there are positions
        assert watch.shaping == set()
        w[x > 0]
    assert watch.shaping == {"x", "w"}


class Zeros(nn.Module):
    """Multiplies a layer's output by constant zeros, and another one's by a weight of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + torch.zeros(3) * self.first(x) + self.scale * self.second(x)
        return y


def test_of_a_model_all_weights_are_sources_so_that_only_constant_zeros_cut() -> None:
    model = Zeros()
    weights = {name: [weight] for name, weight in model.named_parameters()}
    example = Example.of((torch.randn(2, 3),))
    result, watch = followed(model, example, weights)
    assert watch.of(result) == {INPUTS, "weights", "scale", "second.weight", "second.bias"}
    assert watch.of(example.args[0]) == set(), "a copy is used"
