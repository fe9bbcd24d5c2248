"""The commands of README and of the docs, as written, on a ten-class checkpoint of one's own.

Lightning trains and saves it where it is installed; else it is a dict of the same shape.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bnconvert.__main__ import main
from tests.document import ROOT, blocks, run_document

PAGE = ROOT / "docs" / "jobs" / "your-checkpoint.md"
LIGHTNING = find_spec("lightning") is not None
pytestmark = [
    pytest.mark.slow,  # the page itself runs in tests/test_docs.py
    pytest.mark.filterwarnings("default"),  # Lightning's advice about workers and loggers
    pytest.mark.skipif(find_spec("PIL") is None, reason="reads images"),
]
#: README's factory takes no arguments: it loads the user's own checkpoint.
OWN = """
import torch
from made import factory as make

def factory():
    model, example = make(num_classes=10)
    state = torch.load("last.ckpt", weights_only=False)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in state.items()})
    return model, example
"""


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(160) % 10
    images = torch.randn(160, 3, 32, 32, generator=generator)
    return TensorDataset(images + labels[:, None, None, None] / 5, labels)


def save_with_lightning(model: nn.Module, path: Path) -> None:
    """Train a LightningModule that holds a model, and let its trainer save the checkpoint."""
    import lightning.pytorch as pl

    class Classifier(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1, "where": Path("val")})
            self.model = model

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)

    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", enable_checkpointing=False, **quiet)
    trainer.fit(Classifier(), DataLoader(data(), 32))
    trainer.save_checkpoint(path)


def save(model: nn.Module, path: Path) -> None:
    if LIGHTNING:
        save_with_lightning(model, path)
        return
    model(data().tensors[0])
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    torch.save({"epoch": 2, "pytorch-lightning_version": "2.6.6", "state_dict": state}, path)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand beside net.py and the images of the docs, with a checkpoint that was saved here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names: dict[str, Any] = run_document(PAGE)  # writes net.py and the images
    monkeypatch.delitem(sys.modules, "net", raising=False)
    torch.manual_seed(1)
    save(names["factory"](num_classes=10)[0], tmp_path / "last.ckpt")
    yield tmp_path / "last.ckpt"
    for name in ("net", "made"):
        sys.modules.pop(name, None)


def run(command: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(shlex.split(command)[1:])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_the_commands_of_the_docs_take_it(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = "\n".join(b.text for b in blocks(PAGE.read_text()) if b.language == "console")
    commands = re.findall(r"^\$ (bnconvert .*)$", shown, re.M)
    forgotten, inspect, export = (run(command, capsys) for command in commands)
    assert (forgotten[0], inspect[0], export[0]) == (4, 0, 0)
    assert "--model-kwargs num_classes=10" in forgotten[2]
    assert "last.ckpt: all 8 keys begin with `model.`: stripped\n" in inspect[2]
    assert "top-1 agreement on your data  100.00% of 40 samples" in export[1]


def test_the_commands_of_the_readme_run_on_it_as_they_are_written(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move("net.py", "made.py")
    Path("net.py").write_text(OWN)
    Path("val").rename("train")
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^\|[^|]*\| `(bnconvert [^`]* net\.py:factory[^`]*)` \|", readme, re.M)
    assert len(commands) == 7
    for command in commands:
        code, _, err = run(command, capsys)
        assert code in (0, 1), f"{command}: {err}"
        assert "error:" not in err
    assert {"net.onnx", "precise.pt", "tuned.pt", "two.pt"} <= {p.name for p in Path().iterdir()}
