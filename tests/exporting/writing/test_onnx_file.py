import sysconfig
from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

import bnconvert as bnc
from bnconvert.exporting.writing import onnx_file, onnx_weights
from bnconvert.verification.files.onnx_runner import OnnxRunner
from tests.zoo import IMAGE, SERIES, VOLUME, build, trained

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    model, (image, vector) = build("two_inputs")
    bnc.export(model, {"vector": vector, "image": image}, path)
    return path


def test_no_path_of_this_machine_is_in_the_file(exported: Path) -> None:
    """torch's exporter writes the stack trace of every node, with absolute paths, into it."""
    content = exported.read_bytes()
    for path in (str(ROOT), sysconfig.get_paths()["purelib"], str(Path.home()), "stack_trace"):
        assert path.encode() not in content


def test_the_batch_axis_has_its_name(exported: Path) -> None:
    graph = onnx.load(exported).graph
    shapes = {
        i.name: [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in graph.input
    }
    assert shapes == {"vector": ["batch", 5], "image": ["batch", 3, 8, 8]}
    assert OnnxRunner(exported).first_axis("image") is None


def test_weights_beyond_two_gigabytes_lie_beside_the_file_and_move_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "SINGLE_FILE_LIMIT", 0)
    model, inputs = build("without_statistics")  # fails, and so is renamed
    with pytest.raises(bnc.VerificationError):
        bnc.export(model, inputs, tmp_path / "model.onnx")
    files = {"model.failed.onnx", "model.failed.onnx.data", "model.failed.zip"}
    assert {p.name for p in tmp_path.iterdir()} == files
    runner = OnnxRunner(tmp_path / "model.failed.onnx")
    outputs = runner.run(runner.feed([(None, inputs[0])]))
    torch.testing.assert_close(outputs, [model(*inputs)], rtol=1e-4, atol=1e-5)


def test_a_dtype_without_kernels_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model, inputs = build("bfloat16")
    with pytest.raises(bnc.ExportError, match=r"export model\.float\(\)"):
        bnc.export(model, inputs, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_operator_that_onnx_lacks_is_refused(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.linalg.eigvals(x @ x.mT).abs()
            return result

    with pytest.raises(bnc.ExportError, match="no ONNX file can be made"):
        bnc.export(Odd().eval(), IMAGE, tmp_path / "odd.onnx")
    assert list(tmp_path.iterdir()) == []


def beside(exported: Path, folder: Path) -> Path:
    """Save a file again with its weights in a file of their own; return it."""
    path = folder / "model.onnx"
    onnx.save(
        onnx.load(exported),
        str(path),
        save_as_external_data=True,
        location="w.data",
        size_threshold=0,
    )
    return path


def relocate(path: Path, location: str) -> None:
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, str(path))


@pytest.mark.parametrize("kind", ["parent", "absolute", "link", "through"])
def test_weights_outside_the_files_folder_are_not_read(
    exported: Path, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path, outside = beside(exported, folder), tmp_path / "secret"
    onnx_weights.require_contained(path)
    (folder / "w.data").rename(outside)
    locations = {"parent": "../secret", "absolute": str(outside), "through": "x/../../secret"}
    if kind == "link":
        (folder / "w.data").symlink_to(outside)
    else:
        relocate(path, locations[kind])
    model, inputs = build("two_inputs")
    with pytest.raises(bnc.ExportError, match="outside its folder; put them into the same folder"):
        bnc.verify(model, path, inputs)


def test_a_file_and_its_weights_may_both_be_links_into_a_cache(
    exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    path = beside(exported, tmp_path / "blobs")
    for name in ("model.onnx", "w.data"):
        (tmp_path / "snapshot" / name).symlink_to(path.with_name(name))
    onnx_weights.require_contained(tmp_path / "snapshot" / "model.onnx")


@pytest.mark.parametrize("content", [b"", b"no model", b"\xff" * 100])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    model, inputs = build("two_inputs")
    with pytest.raises(bnc.ExportError):
        bnc.verify(model, path, inputs)


def test_a_dict_as_the_last_input_is_an_input(tmp_path: Path) -> None:
    """torch.onnx takes it for the keyword inputs."""

    class Observing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x: torch.Tensor, seen: dict[str, torch.Tensor]) -> torch.Tensor:
            y: torch.Tensor = self.norm(x) + seen["a"] * seen["b"]
            return y

    x = torch.randn(4, 3)
    report = bnc.export(Observing().eval(), (x, {"a": x, "b": x + 1}), tmp_path / "m.onnx")
    assert not report.failures
    names = [value.name for value in onnx.load(tmp_path / "m.onnx").graph.input]
    assert names == ["x", "seen_a", "seen_b"]


def test_a_full_disk_is_no_fault_of_an_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_file, "save", full)
    x = torch.ones(2, 3)
    with pytest.raises(bnc.ExportError, match=r"m\.onnx: cannot be written \(No space left on dev"):
        onnx_file.write(nn.Linear(3, 2).eval(), (x,), {}, None, tmp_path / "m.onnx")


KINDS = {
    1: (nn.Conv1d, nn.InstanceNorm1d, SERIES),
    2: (nn.Conv2d, nn.InstanceNorm2d, IMAGE),
    3: (nn.Conv3d, nn.InstanceNorm3d, VOLUME),
}


@pytest.mark.parametrize("dimensions", KINDS)
def test_instance_norms_with_statistics_are_gone_and_others_are_one_operator(
    dimensions: int, tmp_path: Path
) -> None:
    conv, norm, x = KINDS[dimensions]
    path = tmp_path / "m.onnx"
    tracked = norm(4, affine=dimensions > 1, track_running_stats=True)
    layers = [conv(3, 4, 3), tracked, nn.ReLU(), conv(4, 4, 1), norm(4, affine=dimensions > 1)]
    report = bnc.export(trained(nn.Sequential(*layers)), x, path)
    assert report.verdict == "agrees"
    kinds = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    assert kinds == {"Conv": 2, "Relu": 1, "InstanceNormalization": 1}
