"""With corrected biases a network whose weights are rounded to 8 bits loses less."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.folding.equalizing.bias_correction import Biases
from tests.zoo import IMAGE

DATA = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(1))


NORMAL = torch.randn(1_000, 4, 5, 5, generator=torch.Generator().manual_seed(2))


def network(activation: type[nn.Module] = nn.ReLU6) -> nn.Sequential:
    """Return a network whose statistics are those of the data."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs, groups in ((3, 16, 1), (16, 16, 16), (16, 24, 1), (24, 24, 24)):
        layers += [nn.Conv2d(inputs, outputs, 3, groups=groups), nn.BatchNorm2d(outputs)]
        layers += [activation()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.bias, 0, 1)
            nn.init.uniform_(norm.weight, 0.1, 2)
    bnc.recompute_statistics(model, [DATA])
    return model.eval()


def in_8_bits(weight: Tensor, *, per_channel: bool) -> Tensor:
    axes = list(range(1, weight.dim()))
    size = weight.abs().amax(axes, keepdim=True) if per_channel else weight.abs().max()
    return (weight / (size / 127)).round() * (size / 127)


def noise_of(module: nn.Module, truth: Tensor, *, per_channel: bool) -> float:
    """Return how far the logits of the data move when every weight is rounded to 8 bits."""
    module = deepcopy(module)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1 and len(weight) > 1:
                weight.copy_(in_8_bits(weight, per_channel=per_channel))
        return float((module(DATA) - truth).norm())


@pytest.mark.parametrize(
    ("biases", "activation"),
    [("per-tensor", nn.ReLU6), ("per-channel", nn.ReLU), ("per-tensor", nn.SiLU)],
)
def test_rounded_weights_move_the_logits_less(biases: Biases, activation: type[nn.Module]) -> None:
    model = network(activation)
    folded = bnc.fold(model, (DATA[:4],))
    noise = {}
    for way in ("keep", biases):
        module = bnc.equalize(folded, relu6="per-channel", biases=way).module
        with torch.no_grad():
            truth = model(DATA)
        noise[way] = noise_of(module, truth, per_channel=biases == "per-channel")
    assert noise[biases] < 0.7 * noise["keep"]


def test_the_note_says_of_how_many_layers_and_how_far_the_outputs_move() -> None:
    folded = bnc.fold(network(), (DATA[:4],))
    before = {name: value.clone() for name, value in folded.module.state_dict().items()}
    corrected = bnc.equalize(folded, biases="per-tensor")
    # the first layer reads the image, of which no norm tells anything
    said = "the biases of 4 of 5 layers are corrected for weights of 8 bits with one scale"
    assert any(note.startswith(said) for note in corrected.report.notes)
    assert corrected.program() is not None
    assert not torch.equal(corrected.module(DATA), folded.module(DATA))
    assert all(torch.equal(before[n], value) for n, value in folded.module.state_dict().items())


@pytest.mark.parametrize("biases", ["per-tensor", "per-channel"])
@pytest.mark.parametrize("pooled", [False, True])
def test_the_mean_error_of_a_layer_is_gone_where_the_norm_tells_what_it_reads(
    biases: Biases, *, pooled: bool
) -> None:
    torch.manual_seed(0)
    last = (
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)] if pooled else [nn.Conv2d(4, 3, 3)]
    )
    first, norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
    nn.init.dirac_(first.weight)
    nn.init.uniform_(norm.bias, -1, 1)
    folded = bnc.fold(nn.Sequential(first, norm, nn.ReLU(), *last).eval(), (NORMAL[:4],))
    errors = {}
    for way in ("keep", biases):
        module = bnc.equalize(folded, biases=way).module
        truth = bnc.equalize(folded).module(NORMAL)
        with torch.no_grad():
            weight = next(w for w in module.parameters() if len(w) == 3 and w.dim() > 1)
            weight.copy_(in_8_bits(weight, per_channel=biases == "per-channel"))
            errors[way] = (module(NORMAL) - truth).movedim(1, 0).flatten(1).mean(1).abs().max()
    assert errors[biases] < 0.1 * errors["keep"]


@pytest.mark.parametrize("reduced", [0, 1])
def test_a_linear_layer_that_reads_something_else_than_the_norms_channels_keeps_its_bias(
    reduced: int,
) -> None:
    class Reduced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
            self.last = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.last(self.norm(self.first(x).mT).relu().mean(reduced))
            return y

    corrected = bnc.equalize(
        bnc.fold(Reduced().eval(), (torch.randn(2, 4, 4),)), biases="per-tensor"
    )
    assert any(note.startswith("the biases of 0 of 2 layers") for note in corrected.report.notes)


def test_a_layer_that_reads_a_single_row_keeps_its_bias() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm, self.gate = nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.norm(self.first(x)) * self.gate(x.mean(0))
            return y

    corrected = bnc.equalize(bnc.fold(Gated().eval(), (torch.randn(4, 3),)), biases="per-tensor")
    assert any(note.startswith("the biases of 0 of 2 layers") for note in corrected.report.notes)


def test_without_norms_nothing_is_known_and_nothing_moves() -> None:
    folded = bnc.fold(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)), IMAGE)
    corrected = bnc.equalize(folded, biases="per-channel")
    assert any(note.startswith("the biases of 0 of 2 layers") for note in corrected.report.notes)
    assert torch.equal(corrected.module(*IMAGE), bnc.equalize(folded).module(*IMAGE))


def test_a_layer_that_is_called_twice_keeps_its_bias() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.shared = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.shared(self.shared(self.norm(self.first(x)).relu()).relu())
            return y

    corrected = bnc.equalize(bnc.fold(Twice().eval(), IMAGE), biases="per-tensor")
    assert any(note.startswith("the biases of 0 of 3 layers") for note in corrected.report.notes)


def test_a_word_that_is_no_rounding_is_refused() -> None:
    folded = bnc.fold(nn.Conv2d(3, 4, 3), IMAGE)
    with pytest.raises(ValueError, match="biases='int8': is not one of keep, per-tensor"):
        bnc.equalize(folded, biases="int8")  # type: ignore[arg-type]
