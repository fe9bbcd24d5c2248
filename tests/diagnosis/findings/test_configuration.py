from collections.abc import Callable
from typing import Self

import pytest
from torch import nn

import bnconvert as bnc
from bnconvert.conversion.conversion import convert
from bnconvert.diagnosis.findings.configuration import configuration_findings
from bnconvert.modules.survey import survey
from bnconvert.norms.frozen import Frozen
from tests.disguises import BORROWED, OTHERS, PLACES, Held, Made, Styled, network
from tests.zoo import build


def found(model: nn.Module) -> dict[str, tuple[str, ...]]:
    return {f.id: f.paths for f in configuration_findings(survey(model))}


def test_a_clean_model_has_none() -> None:
    assert found(build("residual")[0]) == {}
    assert found(build("residual")[0].train()) == {}


def test_a_norm_in_eval_mode_will_be_thawed_by_train() -> None:
    model = build("residual")[0].train()
    model.get_submodule("bn1").eval()
    assert found(model) == {"BN003": ("bn1",)}
    assert found(convert(model, Frozen())) == {}


def test_norms_without_statistics_and_with_several_calls() -> None:
    assert found(build("without_statistics")[0]) == {"BN004": ("norm",)}
    assert found(build("norm_called_twice")[0]) == {"BN009": ("norm",)}
    assert found(build("one_norm_two_parents")[0]) == {"BN009": ("left.1",)}


def test_a_norm_that_cannot_be_converted_is_an_error_with_its_reason() -> None:
    model = build("own_forward")[0]
    (finding,) = configuration_findings(survey(model))
    assert (finding.id, finding.severity, finding.paths) == ("BN012", "error", ("norm",))
    assert "ScaledBatchNorm2d has a forward of its own" in finding.message
    assert finding.fix == "use Keep()"


def test_what_cannot_be_seen_or_reached_is_said() -> None:
    assert found(build("functional")[0]) == {"BN019": ("",)}
    assert found(build("standardized_conv")[0]) == {}
    assert found(build("branch_in_child")[0]) == {"BN020": ("closed",)}
    assert found(nn.BatchNorm2d(3)) == {}


def test_every_finding_has_a_next_step() -> None:
    for name in ("own_forward", "functional", "branch_in_root", "without_statistics"):
        for finding in configuration_findings(survey(build(name)[0])):
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


class _Sticky(nn.Sequential):
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self[0].eval()
        return self


def test_a_norm_that_the_models_own_train_keeps_in_eval_is_no_warning() -> None:
    inner, patched = nn.Sequential(_Sticky(nn.BatchNorm1d(3))), nn.Sequential(nn.BatchNorm1d(3))
    vars(patched)["train"] = lambda mode=True: (patched[0].eval(), patched)[1]
    for model in (_Sticky(nn.BatchNorm1d(3)), inner, patched):
        (finding,) = (f for f in bnc.inspect(model.train()).findings if f.id == "BN003")
        assert finding.severity == "info"
        assert finding.message.endswith("its own train() keeps it so")
    overridden = _Sticky(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).train()
    overridden[1].eval()
    found = [(f.severity, f.paths) for f in bnc.inspect(overridden).findings if f.id == "BN003"]
    assert found == [("warning", ("1",)), ("info", ("0",))]
