import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.aten import aten, norm_calls
from bnconvert.capturing import capture
from bnconvert.folds import FOLDS
from bnconvert.folds.fold import affine_of, describe, producer_of
from tests.zoo import IMAGE, build, trained


def the_call(name: str) -> tuple[torch.fx.GraphModule, object]:
    model, inputs = build(name)
    module = capture(model, inputs).module
    return module, norm_calls(module)[0]


def test_every_fold_absorbs_other_operators() -> None:
    targets = [target for fold in FOLDS for target in fold.targets]
    assert len(targets) == len(set(targets))


def test_the_producer_is_found_through_what_changes_nothing() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.drop, self.norm = nn.Conv2d(3, 4, 1), nn.Dropout(), nn.BatchNorm2d(4)
            self.same = nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.same(self.drop(self.conv(x)).contiguous().clone()))

    module = capture(trained(Through()), IMAGE).module
    (call,) = norm_calls(module)
    producer = producer_of(call)
    assert isinstance(producer, torch.fx.Node)
    assert producer.target is aten.conv2d.default
    assert describe(producer) == "conv (conv2d)"


def test_a_second_reader_on_the_way_is_the_reason() -> None:
    _, call = the_call("output_read_elsewhere")
    assert producer_of(call) == "its input is also read by add"


def test_an_input_that_the_model_returns_too_has_the_output_as_reader() -> None:
    class Both(nn.Sequential):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self[0](x)
            return self[1](y), y

    module = capture(trained(Both(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))), IMAGE).module
    (call,) = norm_calls(module)
    assert producer_of(call) == "its input is also read by the model's output"


def test_a_norm_that_is_no_map_of_its_own_has_a_reason_instead() -> None:
    module, call = the_call("without_statistics")
    assert affine_of(module, call) == call.obstacle
    module, call = the_call("plain")
    module.norm.running_var[0] = -1
    assert affine_of(module, call) == (
        "its statistics, weight or bias hold NaN, infinity or a negative variance"
    )


def test_looking_changes_nothing() -> None:
    module, call = the_call("plain")
    code, state = module.code, {k: v.clone() for k, v in module.state_dict().items()}
    producer = producer_of(call)
    (fold,) = (fold for fold in FOLDS if producer.target in fold.targets)
    assert fold.why_not(module, call, producer) is None
    module.recompile()
    assert module.code == code
    assert all(torch.equal(state[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize(("gain", "outcome"), [(1.0, "folded"), (1e4, "standing")])
def test_a_weight_that_would_overflow_is_refused(gain: float, outcome: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        model[0].weight.fill_(30.0)
        model[1].weight.fill_(gain)
    (row,) = bnc.fold(model.half(), (IMAGE[0].half(),)).report.norms
    assert row.outcome == outcome
    if outcome == "standing":
        assert row.reason == "the folded weight overflows torch.float16"


def test_a_computed_weight_is_refused() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)))
    model.append(nn.BatchNorm2d(4))
    folded = bnc.fold(trained(model), IMAGE)
    (row,) = folded.report.norms
    assert row.reason == "the layer's weight is computed in the forward, not stored"
    torch.testing.assert_close(folded.module(*IMAGE), model(*IMAGE))
