import copy
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed as dist, nn

import bnconvert as bnc
from bnconvert.exporting.failure_bundle import read_bundle
from bnconvert.graphs.example import Example
from tests.onnx_metadata import metadata_of
from tests.zoo import IMAGE, Net, build, trained


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    model = bnc.convert(build("residual")[0], bnc.Frozen())
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    properties = metadata_of(tmp_path / "m.onnx")
    assert properties["bnconvert.version"] == "0.1.0"
    assert json.loads(properties["bnconvert.policy"]) == {"FrozenNorm": 2}
    assert (properties["bnconvert.folded"], properties["bnconvert.standing"]) == ("2", "0")
    figures = json.loads(properties["bnconvert.verification"])
    assert figures["passed"] is True
    assert figures["checks"] == len(report.checks)
    assert 0 < figures["worst norm"] < 1e-5
    assert report.facts["BatchNormalization nodes"] == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "m.onnx"]


@pytest.mark.parametrize(
    "name", ["norm_called_twice", "pre_activation", "transposed_grouped", "root_is_norm", "no_norm"]
)
def test_awkward_models_are_exported_and_verified(name: str, tmp_path: Path) -> None:
    model, inputs = build(name)
    report = bnc.export(model, inputs, tmp_path / "m.onnx")
    assert report.failures == ()
    assert all(row.reason for row in report.norms)
    assert bnc.verify(model, tmp_path / "m.onnx", inputs).failures == ()


def test_group_norm_is_exported_as_what_it_is(tmp_path: Path) -> None:
    model = bnc.convert(build("plain")[0], bnc.Group(2))
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    assert report.facts["standing"] == 1
    assert report.failures == ()


def test_every_step_is_told_with_its_number(tmp_path: Path) -> None:
    told: list[tuple[int, int | None, str]] = []
    model, inputs = build("plain")
    path, batches = tmp_path / "m.onnx", [torch.randn(4, 3, 8, 8)]

    def tell(done: int, total: int | None, what: str) -> None:
        told.append((done, total, what))

    bnc.export(model, inputs, path, progress=tell)
    assert told == [(0, 3, "capturing and folding"), (1, 3, "writing ONNX"), (2, 3, "verifying")]
    told.clear()
    bnc.export(model, inputs, path, calibration=batches, progress=tell)
    assert told[0] == (0, 4, "recomputing statistics")
    assert (0, 4, "recomputing statistics: norm") in told
    assert told[-1] == (3, 4, "verifying")
    told.clear()
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, path, inputs, progress=tell)
    assert told[0] == (0, 1, "verifying")
    assert len(told) == 1, "the file says itself why it differs"


def test_a_failed_export_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("the old file")
    model, inputs = build("without_statistics")
    with pytest.raises(bnc.VerificationError) as failure:
        bnc.export(model, inputs, path)
    assert path.read_text() == "the old file"
    assert failure.value.path == tmp_path / "m.failed.onnx"
    assert {p.name for p in tmp_path.iterdir()} == {"m.onnx", "m.failed.onnx", "m.failed.zip"}
    assert failure.value.bundle == tmp_path / "m.failed.zip"
    torch.testing.assert_close(read_bundle(failure.value.bundle).args, inputs)
    command = f"verify MODEL {tmp_path}/m.failed.onnx --input {tmp_path}/m.failed.zip"
    assert str(failure.value).endswith(f"; to compare again: bnconvert {command}")
    assert "depends on the rest of its batch by" in str(failure.value)
    assert isinstance(failure.value.report, bnc.Report)


def test_a_training_norm_in_an_eval_model_is_refused_by_its_path(tmp_path: Path) -> None:
    """torch.onnx ships it as eval batch norm, without a word: relative error 0.9."""
    model, inputs = build("residual")
    model.get_submodule("bn2").train()
    with pytest.raises(bnc.ExportError, match=r"^bn2: in training mode inside an eval model"):
        bnc.export(model, inputs, tmp_path / "m.onnx")
    frozen = bnc.convert(model, bnc.Frozen())
    assert bnc.export(frozen, inputs, tmp_path / "m.onnx").failures == ()


def test_a_missing_folder_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(bnc.ExportError, match="there is no folder"):
        bnc.export(*build("plain"), tmp_path / "nowhere" / "m.onnx")


def test_untrained_statistics_are_proven_on_a_jittered_copy(tmp_path: Path) -> None:
    model = Net().eval()
    before = copy.deepcopy(model.state_dict())
    report = bnc.export(model, IMAGE, tmp_path / "m.onnx")
    others = [check for check in report.checks if check.case.startswith("other statistics")]
    assert len(others) == len(report.checks) / 2
    assert any("hides folding bugs" in note for note in report.notes)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    trained_report = bnc.export(trained(Net()), IMAGE, tmp_path / "m.onnx")
    assert not any("other statistics" in check.case for check in trained_report.checks)


@pytest.mark.parametrize("name", ["jittered.onnx", "simplified"])
def test_a_file_of_any_name_is_not_mixed_up_with_those_made_on_the_way(
    name: str, tmp_path: Path
) -> None:
    model = Net().eval()
    assert bnc.export(model, IMAGE, tmp_path / name).verdict == "agrees"
    assert bnc.verify(model, tmp_path / name, IMAGE).verdict == "agrees"
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_model_in_training_mode_is_exported_in_eval_mode_and_stays_in_training(
    tmp_path: Path,
) -> None:
    model, inputs = build("residual")
    report = bnc.export(model.train(), inputs, tmp_path / "m.onnx")
    assert model.training
    assert [finding.id for finding in report.findings] == ["BN409"]
    assert bnc.verify(model.eval(), tmp_path / "m.onnx", inputs).failures == ()


def test_half_precision_is_judged_by_its_own_rounding(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    report = bnc.export(trained(model).half(), (IMAGE[0].half(),), tmp_path / "m.onnx")
    assert report.failures == ()
    assert all(1e-5 < check.error < 1e-2 for check in report.checks if check.measure == "norm")


def test_calibration_gives_the_file_precise_statistics_and_leaves_the_model(tmp_path: Path) -> None:
    model, inputs = build("residual")
    batches = list((torch.randn(40, 3, 8, 8) * 3 + 2).split(10))
    state = copy.deepcopy(model.state_dict())
    report = bnc.export(model, inputs, tmp_path / "m.onnx", calibration=batches)
    assert [row.path for row in report.statistics] == ["bn1", "bn2"]
    assert report.failures == ()
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    with pytest.raises(bnc.VerificationError):
        bnc.verify(model, tmp_path / "m.onnx", inputs)
    bnc.recompute_statistics(model, batches)
    assert bnc.verify(model, tmp_path / "m.onnx", inputs).failures == ()


class Blended(nn.Module):
    """It takes one input by its place and others by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, *, weight: Tensor, scales: list[Tensor]) -> Tensor:
        y: Tensor = self.norm(self.conv(x)) * weight[:, None, None, None]
        return y * scales[0] + scales[1]


def test_positional_and_keyword_inputs_are_exported_and_verified_together(tmp_path: Path) -> None:
    model, path = trained(Blended()), tmp_path / "m.onnx"
    keywords = {"weight": torch.rand(2), "scales": [torch.tensor(2.0), torch.tensor(0.5)]}
    example = Example(IMAGE, keywords)
    assert bnc.export(model, example, path).failures == ()
    assert bnc.verify(model, path, example).failures == ()
    with torch.no_grad():
        model.get_parameter("conv.weight").mul_(1.01)
    with pytest.raises(bnc.VerificationError, match="BN415: the file was made from other weights"):
        bnc.verify(model, path, example)


def test_a_model_with_a_process_group_is_exported(
    tmp_path: Path, lone_process_group: dist.ProcessGroup
) -> None:
    """torch cannot copy a process group: every copy shares the model's own."""
    norm = nn.SyncBatchNorm(4, process_group=lone_process_group)
    model, path = trained(nn.Sequential(nn.Conv2d(3, 4, 3), norm)), tmp_path / "m.onnx"
    assert bnc.export(model, IMAGE, path).failures == ()
    assert bnc.verify(model, path, IMAGE).failures == ()
    batches = [torch.randn(4, 3, 8, 8)]
    assert bnc.export(model, IMAGE, path, calibration=batches).failures == ()


@pytest.mark.parametrize("frozen", ["nothing", "the backbone", "everything"])
def test_frozen_parameters_and_a_folded_graph_are_proven_as_any(
    tmp_path: Path, frozen: str
) -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Upsample((8, 8)))
    model = trained(nn.Sequential(backbone, nn.Conv2d(4, 2, 1))).eval()
    parts = {"nothing": nn.Identity(), "the backbone": backbone, "everything": model}
    parts[frozen].requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    bnc.export(model, IMAGE, tmp_path / "model.onnx")
    bnc.export(bnc.fold(model, IMAGE).module, IMAGE, tmp_path / "folded.onnx")
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
