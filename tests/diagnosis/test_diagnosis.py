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


def images(count: int, seed: int = 0) -> torch.Tensor:
    """Return images, part of whose variance is that of their means."""
    generator = torch.Generator().manual_seed(seed)
    own, of_image = (torch.randn(count, 3, size, size, generator=generator) for size in (8, 1))
    return own + of_image


def healthy() -> tuple[nn.Module, list[torch.Tensor]]:
    """Return a model in training mode with precise statistics of shuffled batches."""
    torch.manual_seed(0)
    convs = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    last = nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8)
    model, batches = nn.Sequential(*convs, *last), [*images(256).split(32)]
    bnc.recompute_statistics(model, batches)
    return model, batches


def test_a_healthy_model_is_healthy_with_domains_that_mean_nothing() -> None:
    model, batches = healthy()
    report = bnc.diagnose(model, batches, domains=[["day", "night"] * 16] * 8)
    assert report.findings == ()


def test_domains_are_found_and_one_line_separates_them() -> None:
    model, batches = healthy()
    shift = torch.tensor([0.0, 4.0] * 16).view(-1, 1, 1, 1)
    mixed = [batch + shift for batch in batches]
    bnc.recompute_statistics(model, mixed)
    for data, domains, name in (
        (mixed, [["day", "night"] * 16] * 8, "BN206"),
        ([x[::2] for x in mixed] + [x[1::2] for x in mixed], ["day"] * 8 + ["night"] * 8, "BN207"),
    ):
        report = bnc.diagnose(model, data, domains=domains)
        assert ids(report) == {name}
        names = {"bnc": bnc, "model": model}
        exec(report.findings[0].code, names)
        assert name not in ids(bnc.diagnose(names["model"], data, domains=domains))  # type: ignore[arg-type]


def test_batches_are_judged_as_those_of_a_training_only_in_training_mode() -> None:
    model, _ = healthy()
    grouped = [x.repeat_interleave(8, 0) for x in images(64).split(8)]
    assert "BN208" in ids(bnc.diagnose(model, grouped))
    assert "BN208" not in ids(bnc.diagnose(model.eval(), grouped))


def test_norms_made_for_small_batches_are_not_told_that_they_are_small() -> None:
    model, batches = healthy()
    small = [x for batch in batches for x in batch.split(8)]
    assert ids(bnc.diagnose(model, small)) == {"BN203"}
    assert ids(bnc.diagnose(bnc.convert(model, bnc.Renorm()), small)) == set()


def test_an_overflow_under_autocast_is_found() -> None:
    model, batches = healthy()

    def forward(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.float16):
            output: torch.Tensor = model(batch)
        return output

    report = bnc.diagnose(model, [*batches, batches[0] * 1e7], forward=forward)
    assert [(f.id, f.severity, f.paths) for f in report.findings] == [("BN211", "error", ("1",))]
    assert {f.severity for f in bnc.diagnose(model, [x * 1e5 for x in batches]).findings} >= {
        "info"
    }


def test_stale_norms_are_ranked_by_what_they_change_and_the_model_is_not() -> None:
    model, batches = healthy()
    for name, factor in (("1", 9), ("4", 2), ("6", 2)):
        model.get_buffer(f"{name}.running_var").mul_(factor)
    state = copy.deepcopy(model.state_dict())
    (ranked,) = (f for f in bnc.diagnose(model, batches).findings if f.id == "BN210")
    assert set(ranked.paths) == {"1", "4", "6"}
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert "BN210" not in ids(bnc.diagnose(model, batches[:3]))  # more forwards than batches
