"""Real architectures with random statistics: every norm seen, frozen, folded or explained.

`-m slow` takes diverse ones, `-m every` all.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

import bnconvert as bnc
from bnconvert.graphs.example import Example
from bnconvert.modules.survey import survey
from bnconvert.reporting.records import NormRow
from tests.architectures.answers import in_double, outputs, worst_error
from tests.architectures.architecture import Inputs
from tests.architectures.zoo import ALL, BY_NAME, GROUPS, MORE, REAL

DIVERSE = (
    "timm:resnet18",
    "timm:densenet121",
    "timm:mixnet_s",
    "timm:levit_128s",
    "timm:visformer_tiny",
    "timm:test_coatnet",
    "timm:repvit_m1",
    "timm:repvgg_a0",
    "timm:mobileone_s1",
    "timm:fastvit_t8",
    "timm:efficientvit_m0",
    "timm:inception_next_atto",
    "timm:resnetv2_50",
    "tv:googlenet",
    "tv:shufflenet_v2_x0_5",
    "tv:deeplabv3_mobilenet_v3_large",
    "tvbb:ssdlite320_mobilenet_v3_large",
    "smp:Unet",
    "misc:crepe_tiny",
    "misc:efficientnet_lite0",
    "misc:ta_tacotron2_postnet",
    "hf:dpt",
    "hf:patchtsmixer",
    "trap:nf_resnet26",
    "var:shared_bn",
    "var:shared_conv",
    "var:shared_convbn",
)
#: No capture takes them whole: they are folded by parts, in their own class.
IN_PARTS = {architecture.full_name for architecture in REAL if "_fpn" in architecture.name} - {
    "tvbb:fasterrcnn_resnet50_fpn",
    "tvbb:retinanet_resnet50_fpn_v2",
}
IN_PARTS |= {"tv:ssdlite320_mobilenet_v3_large", "misc:ta_conformer", "misc:ta_tacotron2"}
#: How many norms they have, and how many of these fold at least: into the layer before.
FOLDING = {
    "timm:resnet18": (20, 20),
    "timm:mobilenetv3_small_050": (34, 34),
    "timm:tf_efficientnet_b0": (49, 49),
    "timm:densenet121": (121, 59),
    "timm:regnetx_002": (44, 44),
    "tv:resnet50": (53, 53),
    "tv:mobilenet_v2": (52, 52),
    "tv:googlenet": (59, 57),
    "smp:Unet": (30, 30),
}
EXPORTED = (
    "timm:mobilenetv3_small_050",
    "timm:repvgg_a0",
    "smp:Unet",
    "tv:fasterrcnn_mobilenet_v3_large_320_fpn",
    "hf:detr",  # its first values are constant zeros
    "hf:upernet",  # it drops what a head for training computes
    "hf:swiftformer",  # it has a softmax over one element
)
EVERY = [
    pytest.param(name, marks=[pytest.mark.every, *([pytest.mark.slow] if name in DIVERSE else [])])
    for name in (architecture.full_name for architecture in ALL)
]


def made(name: str) -> tuple[nn.Module, Inputs]:
    try:
        return BY_NAME[name].make()
    except ModuleNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed")


def norms(model: nn.Module) -> list[str]:
    return [path for path, module in model.named_modules() if isinstance(module, _BatchNorm)]


def assert_explained(model: nn.Module, rows: Sequence[NormRow]) -> None:
    """Every norm has a row; every row says what it folded into, or why it stands."""
    assert set(norms(model)) <= {path for row in rows for path in (row.path, *row.aliases)}
    assert {row.outcome for row in rows} <= {"folded", "standing", "uncalled"}
    assert [row.path for row in rows if not row.reason.strip()] == []


@pytest.mark.parametrize("name", EVERY)
def test_it_folds_to_the_same_function_and_every_norm_is_explained(name: str) -> None:
    model, inputs = made(name)
    model, example, why_single = in_double(model, Example.of(inputs))
    truth = outputs(model, example)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]

    folded = bnc.fold(model, example)

    assert_explained(model, folded.report.norms)
    assert folded.report.count("folded") >= FOLDING.get(name, (0, 0))[1]
    assert isinstance(folded.module, type(model) if name in IN_PARTS else fx.GraphModule)
    error = worst_error(outputs(folded.module, example), truth)
    assert error <= (1e-4 if why_single else 1e-9)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert [module.training for module in model.modules()] == modes


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDING)
def test_its_norms_are_seen_freeze_and_thaw(name: str) -> None:
    model, inputs = made(name)
    assert [site.path for site in survey(model).sites] == norms(model)
    assert len(norms(model)) == FOLDING[name][0]
    assert_freezes_and_thaws(model, inputs)


def assert_freezes_and_thaws(model: nn.Module, inputs: Inputs) -> None:
    """Frozen, it is the same class and function; reverted, the very same numbers."""
    example = Example.of(inputs)
    truth = outputs(model, example)
    frozen = bnc.convert(model, bnc.Frozen())
    assert type(frozen) is type(model)
    for actual, expected in zip(outputs(frozen, example), truth, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    for actual, expected in zip(outputs(bnc.revert(frozen), example), truth, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_its_file_is_verified_and_holds_the_norms_that_stand(name: str, tmp_path: Path) -> None:
    model, inputs = made(name)
    report = bnc.export(model, inputs, tmp_path / "model.onnx")
    assert report.failures == ()
    assert_explained(model, report.norms)
    nodes = report.facts["BatchNormalization nodes"]
    assert isinstance(nodes, int)
    assert nodes <= report.count("standing")


@pytest.mark.slow
def test_a_detector_is_seen_and_converted() -> None:
    model, inputs = made("tv:fasterrcnn_mobilenet_v3_large_320_fpn")
    found = survey(model)
    assert found.graph is None
    assert [site.path for site in found.sites] == norms(model)
    assert len(found.sites) == 46
    assert_freezes_and_thaws(model, inputs)


def test_the_zoo_has_154_real_models_23_of_transformers_and_each_name_once() -> None:
    assert len(REAL) == 154
    assert GROUPS == ("timm", "tv", "tvbb", "smp", "misc", "hf", "trap", "var")
    assert len(ALL) == 168 + 23
    assert len(BY_NAME) == len(ALL) + len(MORE)
    assert set(DIVERSE) | IN_PARTS | set(FOLDING) | set(EXPORTED) <= {a.full_name for a in ALL}
    assert len(IN_PARTS) == 12


def test_the_benchmark_has_40_families_more_and_trained_models() -> None:
    families = [architecture.family for architecture in MORE if not architecture.is_trained]
    assert len(families) == len(set(families)) == 40
    assert {architecture.family for architecture in MORE if architecture.is_trained} == {"trained"}
