import contextlib
import copy
import itertools

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.submodules import submodule
from tests.zoo import ZOO, ZooModel, build


def trained_by_steps(momentum: float | None, steps: int) -> tuple[nn.Module, list[torch.Tensor]]:
    """Return a model whose running statistics took some steps over data, and the data."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU(), nn.Conv2d(8, 4, 1)
    )
    batches = list((torch.randn(128, 3, 8, 8) * 5 + 3).split(16))
    for step in range(steps):
        model(batches[step % len(batches)])
    return model.eval(), batches


def ids(report: bnc.Report) -> set[str]:
    return {finding.id for finding in report.findings}


def mended(model: nn.Module, batches: list[torch.Tensor], report: bnc.Report, name: str) -> bool:
    """Run the one line that a finding gives, and tell whether the finding is gone."""
    (line,) = {f.code or f.fix for f in report.findings if f.id == name}
    exec(line, {"bnc": bnc, "model": model, "batches": batches})
    return name not in ids(bnc.diagnose(model, batches))


def test_a_well_trained_model_has_no_findings_with_data() -> None:
    model, batches = trained_by_steps(0.1, 80)
    report = bnc.diagnose(model, batches)
    assert report.findings == ()
    assert "no findings" in report.notes
    assert {row.against for row in report.statistics} == {"precise", "batch"}


def test_initial_values_in_the_average_are_found_and_one_line_mends_them() -> None:
    model, batches = trained_by_steps(0.1, 6)
    report = bnc.diagnose(model, batches)
    assert ids(report) >= {"BN103", "BN201"}
    assert "are still 53% of the average" in str(report)
    assert mended(model, batches, report, "BN103")
    assert ids(bnc.diagnose(model, batches)) == set()


def test_stale_statistics_are_found_and_one_line_mends_them() -> None:
    model, batches = trained_by_steps(0.1, 80)
    with torch.no_grad():
        model.get_parameter("0.weight").mul_(3)
    report = bnc.diagnose(model, batches)
    assert ids(report) == {"BN201"}
    assert mended(model, batches, report, "BN201")


def test_a_suspicious_momentum_is_found_and_one_line_mends_it() -> None:
    for momentum in (0.5, 0.9, 0.99, 1.0):
        model, batches = trained_by_steps(momentum, 80)
        report = bnc.diagnose(model, batches)
        assert "BN005" in ids(report)
        assert mended(model, batches, report, "BN005")
        mended_momentum = submodule(model, "1", nn.BatchNorm2d).momentum
        assert mended_momentum is not None
        assert 0 < mended_momentum <= 0.1
    for usual in (0.1, None):
        assert "BN005" not in ids(bnc.inspect(trained_by_steps(usual, 1)[0]))


def test_false_overfitting_is_found_with_its_scores_and_one_line_mends_it() -> None:
    model, batches = trained_by_steps(0.1, 80)
    model.get_buffer("1.running_var").mul_(30)
    with torch.no_grad():
        wanted = [batch.mean((1, 2, 3)) for batch in batches]
    data = list(zip(batches, wanted, strict=True))

    def loss(output: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (output.std() - 0.35).abs()

    report = bnc.diagnose(model, data, loss=loss)
    assert "BN202" in ids(report)
    assert set(report.scores["loss"]) == {"running", "batch", "precise"}
    assert report.scores["loss"]["running"] > 1.25 * report.scores["loss"]["precise"]
    exec(report.findings[-1].fix, {"bnc": bnc, "model": model, "batches": data})
    assert "BN202" not in ids(bnc.diagnose(model, data, loss=loss))


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_diagnosing_changes_nothing(zoo: ZooModel) -> None:
    model, _ = build(zoo.name)
    model.train()
    batches = [tuple(torch.randn(4, *t.shape[1:]).to(t) for t in zoo.inputs)] * 2
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with contextlib.suppress(bnc.StatisticsError):  # of models without running statistics
        bnc.diagnose(model, batches)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value), name


def test_a_failing_score_leaves_the_model_as_it_was() -> None:
    model, batches = trained_by_steps(0.1, 6)
    state = copy.deepcopy(model.state_dict())

    def loss(output: torch.Tensor, batch: torch.Tensor) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bnc.diagnose(model, batches, loss=loss)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_data_that_never_ends_is_refused() -> None:
    batches = itertools.cycle([torch.randn(8, 3)])
    with pytest.raises(bnc.StatisticsError, match="never ends"):
        bnc.diagnose(nn.BatchNorm1d(3), batches)
    assert bnc.diagnose(nn.BatchNorm1d(3), itertools.islice(batches, 10)).scores == {}
