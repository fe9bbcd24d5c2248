from collections.abc import Callable

import pytest
from torch import nn

from bnconvert.diagnosis.findings.unreached import unreached_findings
from bnconvert.modules.survey import survey
from tests.disguises import BORROWED, OTHERS, PLACES, Held, Made, Styled, network
from tests.zoo import build


def found(model: nn.Module) -> dict[str, tuple[str, ...]]:
    return {f.id: f.paths for f in unreached_findings(survey(model))}


def test_a_clean_model_has_none() -> None:
    assert found(build("residual")[0]) == {}
    assert found(build("residual")[0].train()) == {}


def test_a_norm_that_cannot_be_converted_is_an_error_with_its_reason() -> None:
    model = build("own_forward")[0]
    (finding,) = unreached_findings(survey(model))
    assert (finding.id, finding.severity, finding.paths) == ("BN012", "error", ("norm",))
    assert "ScaledBatchNorm2d has a forward of its own" in finding.message
    assert finding.fix == "use Keep()"


def test_what_cannot_be_seen_or_reached_is_said() -> None:
    assert found(build("functional")[0]) == {"BN019": ("",)}
    assert found(build("standardized_conv")[0]) == {}
    assert found(build("branch_in_child")[0]) == {"BN020": ("closed",)}
    assert found(nn.BatchNorm2d(3)) == {}


def test_every_finding_has_a_next_step() -> None:
    for name in ("own_forward", "functional", "branch_in_root"):
        for finding in unreached_findings(survey(build(name)[0])):
            assert finding.fix
            assert finding.message


@pytest.mark.parametrize(
    ("build_norm", "ids"),
    [
        *((norm, {"BN019"}) for norm in BORROWED),
        *((norm, {"BN012"}) for norm in OTHERS),
        *((lambda hide=hide: Held(hide), {"BN012"}) for hide in PLACES.values()),
        (Made, {"BN019"}),
        (Styled, {"BN019"}),
        (lambda: nn.InstanceNorm2d(4, track_running_stats=True), {"BN019"}),
    ],
)
def test_no_norm_in_disguise_is_passed_over(
    build_norm: Callable[[], nn.Module], ids: set[str]
) -> None:
    assert ids <= found(network(build_norm())).keys()
