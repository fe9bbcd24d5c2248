"""Networks equalized as a user does it: the function stays, the ranges come together."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from tests.zoo import IMAGE, trained


class Separable(nn.Module):
    """A convolution, a depthwise and a pointwise one, and a linear layer after a mean."""

    def __init__(self, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.depthwise, self.norm2 = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.pointwise, self.head = nn.Conv2d(8, 6, 1), nn.Linear(6, 4)
        self.acts = nn.ModuleList(activation() for _ in range(3))
        trained(self)
        with torch.no_grad():  # as norms with tiny variances leave them
            self.norm1.weight[:3] *= 1e3
            self.norm2.weight[4:] *= 1e-2

    def forward(self, x: Tensor) -> Tensor:
        x = self.acts[0](self.norm1(self.first(x)))
        x = self.acts[1](self.norm2(self.depthwise(x)))
        y: Tensor = self.head(self.acts[2](self.pointwise(x)).mean((2, 3)))
        return y


def folded(model: nn.Module) -> bnc.Folded:
    return bnc.fold(model.double(), (IMAGE[0].double(),))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity])
def test_the_function_stays_and_the_ranges_come_together(
    activation: Callable[[], nn.Module],
) -> None:
    before = folded(Separable(activation))
    after = bnc.equalize(before)
    x = IMAGE[0].double()
    torch.testing.assert_close(after.module(x), before.module(x))
    assert [pair.producer for pair in after.pairs if pair.is_equalized] == [
        "first (conv2d)",
        "depthwise (conv2d)",
        "pointwise (conv2d)",
    ]
    first, depthwise = after.pairs[:2]
    assert first.consumers == ("depthwise (conv2d)",)
    assert first.channels == 8
    assert first.producer_before is not None
    assert first.producer_after is not None
    assert first.producer_before.spread > 20 * first.producer_after.spread
    # all three of a depthwise triple agree, which one pair alone cannot reach
    assert first.consumers_after is not None
    assert depthwise.consumers_after is not None
    for ranges in (first.consumers_after, depthwise.consumers_after):
        assert ranges.largest == pytest.approx(first.producer_after.largest, rel=0.1)


def test_one_scale_for_a_whole_weight_then_loses_less() -> None:
    before = folded(Separable())
    after = bnc.equalize(before)
    x = IMAGE[0].double()
    with torch.no_grad():
        truth = before.module(x)
        lost = [float((in_8_bits(each)(x) - truth).norm()) for each in (before, after)]
    assert lost[1] < lost[0] / 2


def in_8_bits(model: bnc.Folded | bnc.Equalized) -> nn.Module:
    """Round every weight to 8 bits with one scale, in a copy."""
    program = model.program()
    assert program is not None
    module = program.module()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                step = weight.abs().max() / 127
                weight.copy_((weight / step).round() * step)
    return module


@pytest.mark.parametrize("bounded", [nn.ReLU6, lambda: nn.Hardtanh(0.0, 0.5)])
def test_layers_around_a_clip_stay_and_say_why(bounded: Callable[[], nn.Module]) -> None:
    before = folded(Separable(bounded))
    after = bnc.equalize(before)
    first = after.pairs[0]
    assert first.refusal is not None
    assert first.refusal.code == "not-homogeneous"
    assert 'relu6="per-channel"' in first.refusal.remedy
    assert "as it was: " in str(after.report)
    x = IMAGE[0].double()
    assert torch.equal(after.module(x), before.module(x))


@pytest.mark.parametrize("bounded", [nn.ReLU6, lambda: nn.Hardtanh(0.0, 0.5)])
def test_a_bound_for_every_channel_keeps_the_function(bounded: Callable[[], nn.Module]) -> None:
    before = folded(Separable(bounded))
    after = bnc.equalize(before, relu6="per-channel")
    assert after.pairs[0].is_equalized
    x = IMAGE[0].double()
    torch.testing.assert_close(after.module(x), before.module(x))
    assert "3 clips have a bound for every channel, after a ReLU" in after.report.notes
    assert after.program() is not None


def test_a_bound_that_is_left_out_is_another_function_and_it_is_said() -> None:
    before = folded(Separable(lambda: nn.Hardtanh(0.0, 0.05)))
    after = bnc.equalize(before, relu6="relu")
    x = IMAGE[0].double()
    assert not torch.allclose(after.module(x), before.module(x))
    assert any("another function" in note for note in after.report.notes)


def test_a_clip_between_layers_that_are_no_pair_anyway_is_left_alone() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.relu6(self.conv(x)) + x

    before = folded(Residual())
    after = bnc.equalize(before, relu6="per-channel")
    assert isinstance(after.module, torch.fx.GraphModule)
    targets = [str(node.target) for node in after.module.graph.nodes]
    assert "aten.minimum.default" not in targets


def test_what_is_handed_in_is_not_changed() -> None:
    before = folded(Separable())
    state = {name: value.clone() for name, value in before.module.state_dict().items()}
    bnc.equalize(before)
    assert all(torch.equal(state[n], value) for n, value in before.module.state_dict().items())


def test_a_program_is_folded_first() -> None:
    model = Separable().eval()
    program = torch.export.export(model, (IMAGE[0],))
    after = bnc.equalize(program)
    assert after.pairs[0].is_equalized
    torch.testing.assert_close(after.module(IMAGE[0]), model(IMAGE[0]), rtol=1e-4, atol=1e-4)


def test_activations_that_would_overflow_refuse_all_and_change_nothing() -> None:
    layers = nn.Conv2d(3, 1, 1, bias=False), nn.ReLU(), nn.Conv2d(1, 1, 1, bias=False)
    model = nn.Sequential(*layers).half().eval()
    nn.init.constant_(model.get_parameter("0.weight"), 0.25)
    nn.init.constant_(model.get_parameter("2.weight"), 1.0)
    large = torch.full((2, 3, 4, 4), 65000.0).half()
    before = bnc.fold(model, (large,))
    after = bnc.equalize(before)
    refused = after.pairs[0].refusal
    assert refused is not None
    assert refused.code == "activations-overflow"
    assert torch.equal(after.module(large), before.module(large))


class Joined(nn.Module):
    """Two layers into one, beside the input itself."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 2, 1)
        self.last = nn.Conv2d(9, 4, 1)
        with torch.no_grad():
            self.left.weight[0] *= 1e3

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(torch.cat([self.left(x).relu(), x, self.right(x).relu()], 1))
        return y


def test_layers_that_a_concatenation_joins_are_equalized_each_for_itself() -> None:
    before = folded(Joined())
    after = bnc.equalize(before)
    x = IMAGE[0].double()
    torch.testing.assert_close(after.module(x), before.module(x))
    equalized = [pair.producer for pair in after.pairs if pair.is_equalized]
    assert equalized == ["left (conv2d)", "right (conv2d)"]


@pytest.mark.parametrize(("activation", "stays"), [(nn.SiLU, True), (nn.ReLU, False)])
def test_wide_factors_stay_a_finding_where_their_layer_stays(
    activation: Callable[[], nn.Module], stays: bool
) -> None:
    layers = [nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), activation(), nn.Conv2d(4, 4, 1)]
    model = trained(nn.Sequential(*layers, nn.ReLU(), nn.Conv2d(4, 4, 1)))
    with torch.no_grad():
        model.get_buffer("1.running_var").copy_(torch.tensor([1.0, 1.0, 1e8, 1e8]))
    before = folded(model)
    assert "BN405" in [finding.id for finding in before.report.findings]
    after = bnc.equalize(before)
    assert any(pair.is_equalized for pair in after.pairs)
    left = [finding for finding in after.report.findings if finding.id == "BN405"]
    assert bool(left) is stays
    assert all("equalize the layers first" not in finding.fix for finding in left)


def test_a_word_that_is_no_way_to_treat_a_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="is not one of keep, per-channel, relu"):
        bnc.equalize(folded(Joined()), relu6="per_channel")  # type: ignore[arg-type]


def test_what_is_exported_is_its_module_and_that_is_proven(tmp_path: Path) -> None:
    model, inputs = Separable(), (IMAGE[0],)
    equalized = bnc.equalize(bnc.fold(model, inputs))
    for result, words in (
        (equalized, "an Equalized is not .*; give its .module$"),
        (equalized.folded, "a Folded is not .*; give its .module$"),
        (equalized.program(), r"an ExportedProgram is not .*; give its .module\(\)$"),
    ):
        with pytest.raises(bnc.UnsupportedModelError, match=words):
            bnc.export(result, inputs, tmp_path / "m.onnx")  # type: ignore[arg-type]  # refused
    report = bnc.export(equalized.module, inputs, tmp_path / "m.onnx")
    assert report.verdict == "agrees"
    assert bnc.verify(model, tmp_path / "m.onnx", inputs).verdict == "agrees"
    bnc.export(model, inputs, tmp_path / "folded.onnx")
    kinds = [
        [node.op_type for node in onnx.load(str(tmp_path / name)).graph.node]
        for name in ("m.onnx", "folded.onnx")
    ]
    assert kinds[0] == kinds[1], "no operator more"
