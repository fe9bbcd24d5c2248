from typing import Self

from torch import nn

from bnconvert.conversion.conversion import convert
from bnconvert.diagnosis.findings.freezing import freezing_findings
from bnconvert.modules.survey import survey
from bnconvert.norms.frozen import Frozen
from tests.zoo import FrozenBatchNorm2d, build, trained


def found(model: nn.Module) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.id, f.severity, f.paths) for f in freezing_findings(survey(model))]


def test_a_norm_in_eval_mode_will_be_thawed_by_train() -> None:
    model = build("residual")[0].train()
    model.get_submodule("bn1").eval()
    assert found(model) == [("BN003", "warning", ("bn1",))]
    assert found(convert(model, Frozen())) == []
    assert found(model.eval()) == []


def test_only_the_norms_that_are_meant_are_frozen_by_the_line_of_code() -> None:
    model = build("residual")[0].train()
    model.get_submodule("bn1").eval()
    (finding,) = freezing_findings(survey(model))
    assert "bnc.Policy({'bn1': bnc.Frozen()})" in finding.code


def test_frozen_parameters_freeze_no_statistics() -> None:
    norm = nn.BatchNorm1d(4)
    assert found(nn.Sequential(norm)) == []
    norm.weight.requires_grad_(False)
    assert found(nn.Sequential(norm)) == []  # its bias still learns
    norm.bias.requires_grad_(False)
    assert found(nn.Sequential(norm)) == [("BN001", "warning", ("0",))]
    assert found(nn.Sequential(norm).eval()) == []
    for other in (nn.BatchNorm1d(4, affine=False), trained(FrozenBatchNorm2d(4)).train()):
        assert found(nn.Sequential(other)) == []


def test_tracking_switched_off_with_statistics_left() -> None:
    """Lightning's freeze did this: training then normalizes by the batch, eval does not."""
    norm = trained(nn.BatchNorm1d(4))
    norm.track_running_stats = False
    assert found(nn.Sequential(norm).train()) == [("BN002", "error", ("0",))]


def test_a_frozen_norm_that_was_asked_to_train_is_named() -> None:
    model = convert(build("residual")[0], Frozen())
    assert found(model.requires_grad_(True)) == [("BN021", "warning", ("bn1", "bn2"))]
    for choice in (Frozen(), Frozen(affine="trainable")):
        assert found(convert(model, choice)) == []


class _Sticky(nn.Sequential):
    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self[0].eval()
        return self


def test_a_norm_that_the_models_own_train_keeps_in_eval_is_no_warning() -> None:
    inner, patched = nn.Sequential(_Sticky(nn.BatchNorm1d(3))), nn.Sequential(nn.BatchNorm1d(3))
    vars(patched)["train"] = lambda mode=True: (patched[0].eval(), patched)[1]
    for model in (_Sticky(nn.BatchNorm1d(3)), inner, patched):
        (finding,) = freezing_findings(survey(model.train()))
        assert (finding.id, finding.severity) == ("BN003", "info")
        assert finding.message.endswith("its own train() keeps it so")
    overridden = _Sticky(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).train()
    overridden[1].eval()
    assert found(overridden) == [("BN003", "warning", ("1",)), ("BN003", "info", ("0",))]
