"""The conditions on sizes under which a captured program is right."""

import torch
from torch import Tensor, nn
from torch.export import Dim, export

from bnconvert.torch_private.size_guards import broken_guard, in_words, size_guards


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
