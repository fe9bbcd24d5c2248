"""Networks of timm, torchvision and segmentation_models_pytorch: new ones have no error.

`-m slow` takes diverse ones, `-m every` all; `python -m tests.benchmarks.alarms` lists them.
"""

import pytest

import bnconvert as bnc
from tests.architectures.zoo import BY_NAME, REAL
from tests.benchmarks.alarms import fresh

#: One of each way to be unlike the others.
DIVERSE = (
    "timm:resnet18",
    "timm:densenet121",
    "timm:tf_efficientnet_b0",
    "timm:levit_128s",
    "timm:test_coatnet",
    "timm:repvgg_a0",
    "timm:inception_v3",
    "tv:googlenet",
    "tv:deeplabv3_mobilenet_v3_large",
    "tvbb:ssdlite320_mobilenet_v3_large",
    "smp:Unet",
    "smp:PSPNet",
    "misc:crepe_tiny",
    "misc:efficientnet_lite0",
)
#: What a network may have beside that it is new, without anything to be mended.
MODEST = {"BN008", "BN010", "BN020", "BN022", "BN114"}
#: RepVGG draws the biases of its norms at random, which looks like a training.
MODEST_WARNINGS = {"timm:repvgg_a0": {"BN102"}, "smp:Unet+efficientnet-b0": {"BN022"}}
#: What is wrong with real models: torchcrepe's norms have a momentum of 0.
ERRORS = {"misc:crepe_tiny": {"BN006"}, "misc:crepe_full": {"BN006"}}


def require_only_modest_findings(name: str) -> None:
    """Raise where a new network has a finding that says more than what it is."""
    if "crepe" in name:
        pytest.importorskip("torchcrepe")
    for training in (True, False):
        report = bnc.inspect(fresh(name).train(training))
        assert report.norms
        found = {(f.id, f.severity) for f in report.findings}
        errors = {id for id, severity in found if severity == "error"}
        assert errors <= (ERRORS.get(name, set()) if training else set())
        if not BY_NAME[name].is_trained:
            assert {id for id, _ in found} <= MODEST | MODEST_WARNINGS.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize("name", DIVERSE)
def test_a_new_network_of_some_family_has_no_errors(name: str) -> None:
    require_only_modest_findings(name)


@pytest.mark.every
@pytest.mark.parametrize("name", [a.full_name for a in REAL])
def test_a_new_network_of_every_family_has_no_errors(name: str) -> None:
    require_only_modest_findings(name)
