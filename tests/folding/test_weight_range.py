import torch
from torch import nn

import bnconvert as bnc
from tests.zoo import IMAGE, build, trained


def test_a_wide_spread_of_folded_factors_is_bn405() -> None:
    model, inputs = build("plain")
    assert bnc.fold(model, inputs).report.findings == ()
    with torch.no_grad():
        model.get_parameter("norm.weight")[0] = 5000.0
    (finding,) = bnc.fold(model, inputs).report.findings
    assert (finding.id, finding.severity, finding.paths) == ("BN405", "warning", ("norm",))


def test_a_folded_weight_that_overflows_is_bn406_and_the_norm_stays() -> None:
    model = trained(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)))
    with torch.no_grad():
        model.get_parameter("0.weight").fill_(300.0)
        model.get_buffer("1.running_var").fill_(1e-4)
        model.get_parameter("1.weight").fill_(4.0)
    folded = bnc.fold(model.half(), (IMAGE[0].half(),))
    assert [finding.id for finding in folded.report.findings] == ["BN406"]
    assert folded.report.count("standing") == 1
    assert "overflows torch.float16" in folded.report.norms[0].reason
