"""The conditions on sizes under which a captured program is right."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from bnconvert.torch_private.size_guards import (
    add_guards,
    broken_guard,
    guards_of,
    in_words,
    replace_guards,
    size_guards,
    without_fixed,
)


class Conditional(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x * 2 + y if x.shape[0] % 3 == 0 and x.shape[1] <= 16 else x + y


def test_conditions_are_read_evaluated_and_put_into_words() -> None:
    x, dynamic = torch.randn(6, 8), {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    guards = size_guards(export(Conditional(), (x, x), dynamic_shapes=(dynamic, dynamic)))
    assert {in_words(guard) for guard in guards} == {"(x.shape[0] % 3) == 0", "x.shape[1] <= 16"}

    def broken(*size: int) -> str | None:
        return broken_guard(guards, {"x": torch.empty(size), "y": torch.empty(size)})

    assert broken(9, 16) is None
    assert broken(8, 16) == "(x.shape[0] % 3) == 0"
    assert broken(9, 17) == "x.shape[1] <= 16"


def test_a_condition_that_cannot_be_evaluated_holds() -> None:
    assert broken_guard(["unknown(L['x']) == 2"], {"x": torch.zeros(2)}) is None


def test_a_plain_model_has_none_for_any_batch_and_size() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()).eval()
    axes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    program = export(model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=(axes,))
    assert size_guards(program) == ()


def test_a_condition_that_is_added_is_read_and_checked_like_torchs_own() -> None:
    x, dynamic = torch.randn(6, 8), {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
    program = export(Conditional(), (x, x), dynamic_shapes=(dynamic, dynamic))
    add_guards(program, ["2 <= L['x'].size()[1]"])
    assert "2 <= x.shape[1]" in map(in_words, size_guards(program))
    with pytest.raises(AssertionError, match=r"Guard failed: 2 <= x.size\(\)\[1\]"):
        program.module()(x[:, :1], x[:, :1])


def test_nested_inputs_are_put_into_words_as_one_writes_them() -> None:
    assert in_words("L['d']['x'].size()[0] <= 4") == "d['x'].shape[0] <= 4"
    assert in_words("L['xs'][1].size()[0] <= 4") == "xs[1].shape[0] <= 4"


def test_what_checks_a_graph_can_be_replaced() -> None:
    """A canary: torch calls a submodule of this name with the inputs."""
    x = torch.randn(6, 8)
    module = export(Conditional(), (x, x)).module()
    seen: list[int] = []

    class Watch(nn.Module):
        def forward(self, *inputs: Tensor) -> None:
            seen.append(len(inputs))

    assert guards_of(module) is not None
    assert guards_of(nn.Linear(2, 2)) is None
    replace_guards(module, Watch())
    module(x, x)
    assert seen == [2]


def test_conditions_that_only_say_a_size_are_left_out() -> None:
    fixed = "L['x'].size()[1] == 3", "4 == L['x'].size()[0]"
    others = "L['x'].size()[0] > 3", "L['x'].size()[0] % 8 == 0"
    assert without_fixed((*fixed, *others)) == others
