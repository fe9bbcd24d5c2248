import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from bnconvert.cli.models.program_file import load_program
from bnconvert.errors import LoadError
from tests.cli.checkpoints.test_checkpoint_file import Bomb
from tests.cli.conftest import Run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a program and stand beside it; return its name."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    net(torch.randn(16, 3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim("batch", max=64)},)
    torch.export.save(torch.export.export(net.eval(), (x,), dynamic_shapes=shapes), "net.pt2")
    return "net.pt2"


def test_it_is_a_model_with_its_example_inputs(program: str) -> None:
    module, example = load_program(Path(program))
    assert not module.training
    assert isinstance(example, tuple)
    assert module(*example).shape == (2, 4, 6, 6)


def test_it_is_folded_exported_and_verified(program: str, run: Run) -> None:
    folded = run("fold", program, "-o", "folded.pt2")
    assert folded.out.startswith("OK  Folded GraphModule (1 norm: 1 folded)")
    exported = run("export", program, "-o", "net.onnx")
    assert exported.out.startswith("OK  net.onnx agrees with GraphModule (1 norm: 1 folded")
    assert run("verify", program, "net.onnx").code == 0
    assert run("verify", "folded.pt2", "net.onnx").code == 0


def test_commands_that_look_at_modules_refuse_it_at_once(program: str, run: Run) -> None:
    result = run("inspect", program)
    assert result.code == 2
    assert "net.pt2: is a program, which has operators and no modules; write" in result.err
    result = run("export", program, "--pretrained")
    assert (result.code, "--pretrained: net.pt2 is a model already" in result.err) == (2, True)


def test_code_in_a_program_is_never_run(program: str) -> None:
    torch.save((Bomb(),), "bomb.pt")
    with zipfile.ZipFile(program) as old, zipfile.ZipFile("bad.pt2", "w") as new:
        for name in old.namelist():
            sample = "/sample_inputs/" in name
            new.writestr(name, Path("bomb.pt").read_bytes() if sample else old.read(name))
    with pytest.raises(LoadError, match="holds a pickled object or is of another torch's layout"):
        load_program(Path("bad.pt2"))
    assert not Path("exploded").exists()


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("no program")
    torch.save(torch.ones(1), tmp_path / "weights.pt2")
    for name, said in (
        ("none.pt2", "there is no such file; write one with torch.export.save"),
        ("text.pt2", "is no torch.export program; write one"),
        ("weights.pt2", "of another torch.s layout"),
    ):
        with pytest.raises(LoadError, match=said):
            load_program(tmp_path / name)


@pytest.mark.parametrize(
    "name",
    [
        "net/serialized_state_dict.json",  # of older layouts, which torch unpickles
        "net/models/a/data/weights/a/b.pt",
        "net/data/aotinductor/model.so",  # compiled code, which torch loads
    ],
)
def test_a_layout_that_torch_does_not_write_today_is_refused(program: str, name: str) -> None:
    with zipfile.ZipFile(program) as old, zipfile.ZipFile("bad.pt2", "w") as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
        new.writestr(name, b"")
    with pytest.raises(LoadError, match="of another torch's layout"):
        load_program(Path("bad.pt2"))


def test_a_program_with_a_broken_list_of_weights_is_refused_in_a_sentence(program: str) -> None:
    with zipfile.ZipFile(program) as old, zipfile.ZipFile("bad.pt2", "w") as new:
        for entry in old.namelist():
            broken = entry.endswith("model_weights_config.json")
            new.writestr(entry, b"[]" if broken else old.read(entry))
    with pytest.raises(LoadError, match="cannot be read"):
        load_program(Path("bad.pt2"))
