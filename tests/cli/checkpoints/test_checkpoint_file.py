import argparse
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from bnconvert.cli.checkpoints.checkpoint_file import Unread, read_checkpoint
from bnconvert.errors import LoadError


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("exploded",)


class Settings:
    """What a project of one's own may leave in a checkpoint."""

    def __init__(self) -> None:
        self.depth = 3


def test_what_is_no_file_of_weights_is_called_by_its_name(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 46830571\n"
    for content, said in (
        (pointer, "is a Git LFS pointer, which stands for the file; fetch it with git lfs pull"),
        ("\n<!doctype html>", "is a web page; download the file itself"),
        ("weights", "is no file that torch.save has written|cannot be read"),
        ("", "is empty; copy the file again"),
    ):
        for name in ("w.ckpt", "w.safetensors"):
            (tmp_path / name).write_text(content)
            with pytest.raises(LoadError, match=said):
                read_checkpoint(tmp_path / name)


def test_objects_beside_the_weights_are_left_unread(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    kept = {"w": torch.ones(2), "args": argparse.Namespace(lr=0.1), "settings": Settings()}
    torch.save(kept, path)
    read = read_checkpoint(path)
    assert torch.equal(read["w"], torch.ones(2))
    assert read["args"].lr == 0.1
    assert isinstance(read["settings"], Unread)
    assert read["settings"].name == f"{__name__}.Settings"


def test_code_in_a_file_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(2), "bomb": Bomb()}, "bomb.pt")
    with pytest.raises(LoadError, match="would run code from the file"):
        read_checkpoint(Path("bomb.pt"))
    torch.save(nn.Linear(2, 2), "module.pt")
    read = read_checkpoint(Path("module.pt"))
    assert isinstance(read, Unread)
    assert read.name == "torch.nn.modules.linear.Linear"
    assert not Path("exploded").exists()


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_programs_are_no_weights_and_say_how_to_get_them(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 2).eval(), tmp_path / "program.pt"
    torch.jit.script(model).save(path)
    with pytest.raises(LoadError, match=r"TorchScript program.*torch\.jit\.load\(.*state_dict"):
        read_checkpoint(path)
    torch.export.save(torch.export.export(model, (torch.ones(1, 2),)), path.with_suffix(".pt2"))
    with pytest.raises(LoadError, match=r"program of torch\.export, not weights; give it as MODEL"):
        read_checkpoint(path.with_suffix(".pt2"))
