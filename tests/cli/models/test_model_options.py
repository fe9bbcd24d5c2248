import shlex
from pathlib import Path

import torch

from bnconvert.cli.models.model_options import ModelChoice
from tests.cli.conftest import Run
from tests.zoo import Net, trained


def test_its_words_mean_the_same_choice() -> None:
    texts = ("num_classes=10", '{"act": "relu"}')
    choice = ModelChoice("timm:resnet18", Path("w.pt"), ema=True, arguments=texts)
    words = choice.words()
    assert words == [
        *("--model-kwargs", "num_classes=10", "--model-kwargs", '{"act": "relu"}'),
        *("--weights", "w.pt", "--ema"),
    ]
    assert choice.words(Path("new.pt"))[-2:] == ["--weights", "new.pt"]
    assert "--ema" not in choice.words(Path("new.pt"))


def test_the_command_that_is_advised_makes_the_same_model(run: Run, factory: str) -> None:
    states = {"model": trained(Net(), seed=1).state_dict(), "ema": trained(Net()).state_dict()}
    torch.save(states, "both.pt")
    given = (f"{factory}:plain", "--weights", "both.pt", "--ema")
    result = run("suggest", *given, "--batch-size", "2")
    assert result.err == "both.pt: took `ema`, averaged weights\n"
    command = shlex.split(result.out.splitlines()[-1].partition(": ")[2])
    assert command[:6] == ["bnconvert", "convert", *given]
    assert run(*command[1:]).code == 0


def test_fold_and_export_take_the_eval_mode_that_nobody_could_set(tmp_path: Path) -> None:
    (tmp_path / "fresh.py").write_text(
        "from torch import nn\ndef factory(): return nn.BatchNorm2d(3)\n"
    )
    new, _ = ModelChoice(f"{tmp_path / 'fresh.py'}:factory").load_in_eval()
    assert not new.training
    kept, _ = ModelChoice(f"{tmp_path / 'fresh.py'}:factory").load()
    assert kept.training
