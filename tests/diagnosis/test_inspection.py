import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnconvert as bnc
from tests.disguises import PLACES, Held, Made, Styled, network
from tests.zoo import IMAGE, ZOO, Net, ZooModel, build, trained


def everything(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> list[object]:
    """Return what looking must not change: numbers, gradients, modes, hooks, groups."""
    state: list[object] = [copy.deepcopy(dict(model.state_dict())), torch.get_rng_state()]
    for module in model.modules():
        state.append((module.training, [*vars(module)], [*module._forward_pre_hooks]))
        state.append((len(module._forward_hooks), len(module._backward_hooks)))
    state += [p.requires_grad for p in model.parameters()]
    state += [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    if optimizer is not None:
        state += [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups]
    return state


def is_same(before: object, after: object) -> bool:
    """Tell whether what was there is there, NaN included."""
    if isinstance(before, torch.Tensor):
        assert isinstance(after, torch.Tensor)
        return torch.allclose(before, after, rtol=0, atol=0, equal_nan=True)
    if isinstance(before, dict):
        assert isinstance(after, dict)
        return before.keys() == after.keys() and all(
            is_same(v, after[k]) for k, v in before.items()
        )
    if isinstance(before, list):
        assert isinstance(after, list)
        return len(before) == len(after) and all(map(is_same, before, after))
    return before == after


@pytest.mark.parametrize("zoo", ZOO, ids=lambda zoo: zoo.name)
def test_inspecting_changes_nothing_and_lists_every_norm(zoo: ZooModel) -> None:
    model, _ = build(zoo.name)
    model.train()
    parameters = [*model.parameters()] or [nn.Parameter(torch.zeros(1))]
    optimizer = torch.optim.AdamW(parameters)
    loader = DataLoader(TensorDataset(torch.zeros(9, 3)), 2, shuffle=True)
    before = everything(model, optimizer)
    report = bnc.inspect(model, optimizer=optimizer, loader=loader)
    assert is_same(before, everything(model, optimizer))
    assert [row.path for row in report.norms] == [
        decision.site.path for decision in bnc.plan(model, bnc.Keep()).decisions
    ]


@pytest.mark.parametrize("channels", [3, 5], ids=["inputs", "inputs that it does not take"])
@pytest.mark.parametrize("name", ["residual", "cache_in_forward"])
def test_inspecting_with_inputs_changes_nothing_even_where_it_fails(
    name: str, channels: int
) -> None:
    model = build(name)[0].train()
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    inputs = (torch.randn(2, channels, 8, 8),)
    before = everything(model)
    report = bnc.inspect(model, inputs)
    assert is_same(before, everything(model))
    assert any("failed" in note for note in report.notes) == (channels == 5)


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


def test_a_row_has_what_is_normalized_together_and_what_was_found() -> None:
    model = build("norm_called_twice")[0]
    first, second = bnc.inspect(model, IMAGE).norms
    assert first.images == len(IMAGE[0])
    assert first.values == first.images * IMAGE[0].shape[2] * IMAGE[0].shape[3]
    assert first.finding_ids == second.finding_ids == ("BN009",)
    assert first.fed_by == ("conv1", "conv2")
    (row,) = bnc.inspect(trained(Net())).norms
    assert (row.images, row.values) == (None, None)


def test_a_norm_that_no_capture_calls_is_a_finding() -> None:
    class Hidden(Net):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.shape[1] == 3 else x

    model = trained(Hidden())
    assert "BN022" not in [finding.id for finding in bnc.inspect(model).findings]
    found = [f for f in bnc.inspect(model, IMAGE).findings if f.id == "BN022"]
    assert [(f.severity, f.paths) for f in found] == [("info", ("spare",))]


def test_what_reaches_the_norms_is_seen_in_the_forward_that_a_capture_makes_anyway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*given: object) -> None:
        raise AssertionError("a further forward")

    monkeypatch.setattr("bnconvert.diagnosis.inspection.norm_inputs", refuse)
    for model in (Net().eval(), Net().train()):
        (row,) = bnc.inspect(model, (torch.randn(1, 3, 8, 8),)).norms
        assert (row.images, row.values) == (1, 64)


def test_a_norm_that_is_only_reached_in_training_mode_is_not_reached() -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.extra = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.norm(x)
            return self.extra(y) if self.training else y

    model = trained(nn.Sequential(Head())).eval()
    model[0].train()
    rows = {row.path: row.values for row in bnc.inspect(model, (torch.randn(2, 3, 4, 4),)).norms}
    assert rows == {"0.norm": 32, "0.extra": None}
