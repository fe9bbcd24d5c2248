import copy
from typing import Any

import pytest
import torch
from torch import Tensor, distributed as dist, nn

import bnconvert as bnc
from tests.zoo import IMAGE, ZOO, Net, ZooModel, build, trained

#: Norms that stay in the modules although the graph folds them: what they need has no module form.
STAYING = {
    "conv_called_twice": "its layer's weight is also read by conv (conv2d)",
    "weight_read_elsewhere": "also read by square",
    "own_forward": "it is not called as a module of its own",
    "held_in_list": "it is not called as a module of its own",
    "standardized_conv": "the layer's weight is computed in the forward",
}


@pytest.mark.parametrize(
    "zoo", [zoo for zoo in ZOO if zoo.name != "bfloat16"], ids=lambda zoo: zoo.name
)
def test_a_grafted_model_has_its_class_and_computes_the_same(zoo: ZooModel) -> None:
    model, inputs = build(zoo.name)
    before = copy.deepcopy(model.state_dict())
    folded = bnc.fold(model, inputs)
    grafted = folded.graft(model)
    assert type(grafted) is type(model)
    with torch.no_grad():
        torch.testing.assert_close(grafted(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    rows = folded.graft_report(model).norms
    assert {row.path for row in rows if row.outcome == "folded"} <= {
        row.path for row in folded.report.norms if row.outcome == "folded"
    }
    if zoo.name in STAYING:
        assert any(STAYING[zoo.name] in row.reason for row in rows)
    assert all(row.reason for row in rows)


def test_a_grafted_norm_is_the_identity_and_the_layer_has_a_bias() -> None:
    model, inputs = build("plain")
    grafted = bnc.fold(model, inputs).graft(model)
    assert isinstance(grafted.norm, nn.Identity)
    assert set(grafted.state_dict()) == {"conv.weight", "conv.bias", "head.weight", "head.bias"}


def test_a_layer_that_is_called_twice_with_one_norm_is_folded_once() -> None:
    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.tower(x), self.tower(nn.functional.avg_pool2d(x, 2))

    model = trained(Tower())
    folded = bnc.fold(model, IMAGE)
    grafted = folded.graft(model)
    assert [row.outcome for row in folded.graft_report(model).norms] == ["folded"]
    for ours, theirs in zip(grafted(*IMAGE), model(*IMAGE), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_activation_of_a_fused_layer_stays() -> None:
    layers = pytest.importorskip("timm.layers")
    model = trained(Net(layers.BatchNormAct2d))
    grafted = bnc.fold(model, IMAGE).graft(model)
    assert [type(child).__name__ for child in grafted.get_submodule("norm").children()] == [
        "Identity",
        "ReLU",
    ]
    torch.testing.assert_close(grafted(*IMAGE), model(*IMAGE), rtol=1e-5, atol=1e-5)


def test_hooks_of_a_norm_go_on_running() -> None:
    model, inputs = build("hooked")
    grafted = bnc.fold(model, inputs).graft(model)
    assert grafted.get_submodule("norm")._forward_hooks
    torch.testing.assert_close(grafted(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)


def test_a_hook_that_takes_keyword_arguments_goes_on_taking_them() -> None:
    def double(_: nn.Module, args: Any, kwargs: dict[str, Any], y: Tensor) -> Tensor:
        return y * 2

    model = trained(Net())
    model.norm.register_forward_hook(double, with_kwargs=True)
    grafted = bnc.fold(model, IMAGE).graft(model)
    torch.testing.assert_close(grafted(*IMAGE), model(*IMAGE), rtol=1e-5, atol=1e-5)


class Halved(Net):
    """A net whose stem does half of it only in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = super().forward(x)
        return y if self.training else y / 2


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (nn.Sequential(Net(), nn.BatchNorm2d(4)), "1"),
        (nn.Sequential(Net(), nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))), "1"),
        (nn.Sequential(Halved(), nn.ReLU()), "0"),
        (nn.Sequential(Net(), nn.ReLU()), ""),
    ],
    ids=["norm", "stage", "own_branch", "whole"],
)
def test_a_part_in_training_mode_stays_so(model: nn.Module, part: str) -> None:
    trained(model)
    model.get_submodule(part).train()
    grafted = bnc.fold(model, IMAGE).graft(model)
    truth = model if part else copy.deepcopy(model).eval()
    torch.testing.assert_close(grafted(*IMAGE), truth(*IMAGE), rtol=1e-4, atol=1e-4)


def test_a_forward_that_reads_the_norm_itself_is_refused() -> None:
    class Reading(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert self.norm.num_features == 8
            return super().forward(x)

    model = trained(Reading())
    with pytest.raises(bnc.UnsupportedModelError, match="reads something that only a norm has"):
        bnc.fold(model, IMAGE).graft(model)


def test_a_model_whose_weights_changed_since_is_refused() -> None:
    model, inputs = build("plain")
    folded = bnc.fold(model, inputs)
    with torch.no_grad():
        model.get_parameter("conv.weight")[0] += 1
    for use in (folded.graft, folded.graft_report):
        with pytest.raises(
            bnc.UnsupportedModelError, match=r"conv\.weight: is not what was folded"
        ):
            use(model)


def test_a_graft_captures_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = build("plain")
    folded = bnc.fold(model, inputs)
    monkeypatch.setattr(torch.export, "export", None)
    monkeypatch.setattr("bnconvert.graphs.capture.capturing.export", None)
    first, second = folded.graft(model), folded.graft(model)
    assert [row.outcome for row in folded.graft_report(model).norms] == ["folded"]
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


def test_a_model_with_a_process_group_is_grafted(lone_process_group: dist.ProcessGroup) -> None:
    norm = nn.SyncBatchNorm(8, process_group=lone_process_group)
    model = trained(nn.Sequential(nn.Conv2d(3, 8, 3), norm))
    grafted = bnc.fold(model, IMAGE).graft(model)
    assert isinstance(grafted.get_submodule("1"), nn.Identity)
    torch.testing.assert_close(grafted(*IMAGE), model(*IMAGE), rtol=1e-5, atol=1e-5)
