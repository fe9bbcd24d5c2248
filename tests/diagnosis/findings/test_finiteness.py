import math

import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.diagnosis.findings.finiteness import finiteness_findings
from bnconvert.modules.survey import survey
from tests.zoo import IMAGE, Net, build, trained


def found(model: nn.Module) -> dict[str, tuple[str, ...]]:
    return {finding.id: finding.paths for finding in finiteness_findings(survey(model))}


def poisoned(name: str, value: float, model: nn.Module | None = None) -> nn.Module:
    """Return a model with one entry of a tensor changed."""
    model = model or trained(Net())
    with torch.no_grad():
        dict([*model.named_parameters(), *model.named_buffers()])[name].view(-1)[-1] = value
    return model


def with_buffer(value: torch.Tensor) -> nn.Module:
    model = trained(Net())
    model.head.register_buffer("extra", value)
    return model


def test_finite_models_are_clean() -> None:
    for model in (
        trained(Net()),
        build("residual")[0],
        nn.LazyLinear(3),
        nn.Linear(2, 2, device="meta"),
    ):
        assert found(model) == {}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["conv.weight", "head.weight", "head.bias"])
def test_a_parameter_outside_of_norms_is_named(name: str, value: float) -> None:
    assert found(poisoned(name, value)) == {"BN112": (name,)}


@pytest.mark.parametrize("name", ["norm.weight", "norm.running_mean"])
def test_those_of_norms_are_another_finding(name: str) -> None:
    assert found(poisoned(name, math.nan)) == {}


def test_the_statistics_of_further_domains_are_looked_at_too() -> None:
    model = bnc.convert(trained(Net()), bnc.Separate())
    name = "norm.bnconvert.domains.target.running_mean"
    assert found(poisoned(name, math.nan, model)) == {"BN112": (name,)}


def test_a_buffer_may_hold_infinities_and_no_nan() -> None:
    mask = torch.full((3, 3), -math.inf).triu(1)
    assert found(with_buffer(mask)) == {"BN113": ("head.extra",)}
    assert found(with_buffer(mask * 0)) == {"BN112": ("head.extra",)}


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([1.0, math.nan], dtype=torch.float16),
        torch.tensor([1.0, math.nan]).to(torch.float8_e5m2),
        torch.tensor([1.0, math.nan], dtype=torch.complex64),
        torch.tensor([0.0, math.nan]).to_sparse(),
    ],
    ids=lambda value: f"{value.dtype} {value.layout}",
)
def test_every_kind_of_number_is_looked_at(value: torch.Tensor) -> None:
    assert found(with_buffer(value)) == {"BN112": ("head.extra",)}


def test_integers_are_finite() -> None:
    assert found(with_buffer(torch.tensor([1, 2]))) == {}


def test_inspect_and_diagnose_list_it() -> None:
    model = poisoned("head.bias", math.nan)
    assert [f.id for f in bnc.inspect(model).findings] == ["BN112"]
    assert "BN112" in [f.id for f in bnc.diagnose(model, [IMAGE[0]]).findings]
