import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

import bnconvert as bnc
from tests.disguises import PLACES, Held, Made, Styled, network
from tests.zoo import IMAGE, ZOO, Net, ZooModel, build, trained


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_inspecting_changes_nothing_and_lists_every_norm(zoo: ZooModel) -> None:
    model, _ = build(zoo.name)
    model.train()
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    report = bnc.inspect(model)
    assert model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert [row.path for row in report.norms] == [
        decision.site.path for decision in bnc.plan(model, bnc.Keep()).decisions
    ]


def test_a_row_tells_the_settings_apart() -> None:
    model = nn.Sequential(
        nn.BatchNorm2d(3, eps=1e-3, momentum=None),
        trained(nn.BatchNorm2d(3, track_running_stats=False)),
        bnc.convert(trained(nn.BatchNorm2d(3)), bnc.Frozen()),
    )
    rows = bnc.inspect(model.eval()).norms
    assert [row.reason for row in rows] == [
        "eps=0.001, momentum=None, untrained statistics",
        "eps=1e-05, momentum=0.1, no running statistics",
        "eps=1e-05, momentum=0.1, frozen",
    ]
    assert {row.outcome for row in rows} == {"eval"}


def test_with_example_inputs_a_row_says_whether_it_folds_and_hidden_calls_are_counted() -> None:
    model, inputs = build("branch_in_child")
    assert [row.calls for row in bnc.inspect(model).norms] == [1, None]
    report = bnc.inspect(model, inputs)
    assert [(row.calls, row.outcome) for row in report.norms] == [(1, "folded"), (1, "folded")]


def test_a_model_that_cannot_be_captured_is_still_listed() -> None:
    class Guarded(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.sum() > 0 else x

    report = bnc.inspect(trained(Guarded()), IMAGE)
    assert len(report.norms) == 1
    assert any("torch.export cannot capture it" in note for note in report.notes)


def test_a_clean_model_has_no_findings_and_says_so() -> None:
    report = bnc.inspect(build("residual")[0])
    assert report.findings == ()
    assert report.notes[0] == "no findings"


def test_models_without_numbers_are_listed() -> None:
    assert bnc.inspect(Net().to("meta")).norms[0].channels == 8
    assert bnc.inspect(nn.Sequential(nn.LazyBatchNorm2d())).norms[0].channels == 0
    assert bnc.inspect(nn.ReLU()).title == "ReLU: no batch norm"


def test_norms_that_are_no_modules_are_not_called_no_batch_norm() -> None:
    for norm in (Made(), Styled(), Held(PLACES["norm.0"])):
        assert bnc.inspect(network(norm)).title == "Sequential: batch normalization"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_fresh_models_of_torchvision_are_untrained_and_nothing_else(name: str) -> None:
    models = pytest.importorskip("torchvision.models")
    report = bnc.inspect(models.get_model(name, weights=None))
    (finding,) = report.findings
    assert (finding.id, finding.severity, len(finding.paths)) == (
        "BN114",
        "info",
        len(report.norms),
    )


def test_to_list_norms_does_not_wait_for_what_folds() -> None:
    code = (
        "import sys, torch, bnconvert as bnc; bnc.inspect(torch.nn.BatchNorm2d(3)); "
        "print(*(name for name in sys.modules if name.startswith('bnconvert.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bnconvert.diagnosis.inspection" in loaded
    assert (
        not {
            "bnconvert.folding.folding",
            "bnconvert.diagnosis.diagnosis",
            "bnconvert.statistics.recomputation",
        }
        & loaded
    )


def test_the_findings_of_fold_are_listed_with_example_inputs() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 1), trained(nn.BatchNorm2d(2))).eval()
    with torch.no_grad():
        model.get_parameter("1.weight").copy_(torch.tensor([1e5, 1.0]))
    assert bnc.inspect(model).findings == ()
    inputs = (torch.randn(2, 3, 4, 4),)
    report = bnc.inspect(model, inputs)
    assert [f.id for f in report.findings] == ["BN405"]
    assert report.findings == bnc.fold(model, inputs).report.findings
    assert "no findings" not in report.notes
