import sys
from dataclasses import dataclass
from math import log
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnconvert.cli.sources.scores import loss_of, metric_of
from bnconvert.errors import LoadError

FUNCTIONS = """
def size(output, batch):
    return output.abs().mean()

def words(output, batch):
    return "good"

no_function = 3
"""
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "score_functions.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return "score_functions.py"


def test_by_default_data_with_classes_are_scored_and_others_are_not() -> None:
    loss, metric = loss_of(None, torch.Tensor.int), metric_of(None, torch.Tensor.int)
    assert loss is not None
    assert metric is not None
    wanted = torch.tensor([0, 2])
    naive = -(2 - log(torch.e**2 + 2) + 0 - log(torch.e + 2)) / 2
    assert loss(LOGITS, wanted).mean() == pytest.approx(naive)
    assert metric(LOGITS, wanted).tolist() == [0, 1]
    assert loss_of(None, None) is metric_of(None, None) is None


@dataclass(slots=True)
class Slots:
    """An output whose fields are in no dict."""

    logits: Tensor


@dataclass
class Named:
    """An output as Hugging Face's models return it."""

    logits: Tensor
    hidden: Tensor


@pytest.mark.parametrize(
    "output",
    [
        {"logits": LOGITS},
        {"scores": LOGITS, "boxes": torch.tensor([3])},
        {"aux": -LOGITS, "out": LOGITS},
        Named(LOGITS, -LOGITS),
        Slots(LOGITS),
    ],
    ids=["called logits", "the only one", "called out", "a dataclass", "slots"],
)
def test_logits_are_found_in_an_output_with_names(output: object) -> None:
    wanted = torch.tensor([0, 2])
    for choose in (loss_of, metric_of):
        score = choose(None, torch.Tensor.int)
        assert score is not None
        assert torch.equal(torch.as_tensor(score(output, wanted)), score(LOGITS, wanted))


def test_pixels_are_classified_too() -> None:
    metric = metric_of(None, lambda batch: batch)
    assert metric is not None
    wrong = metric(LOGITS.T.reshape(1, 3, 1, 2), torch.tensor([[[0, 0]]]))
    assert wrong.tolist() == [[[0, 1]]]


def test_a_named_function_takes_the_default_ones_place(functions: str) -> None:
    for choose in (loss_of, metric_of):
        score = choose(f"{functions}:size", lambda batch: batch)
        assert score is not None
        assert score(LOGITS, None) == 0.5


def test_what_is_no_score_is_refused(functions: str) -> None:
    with pytest.raises(
        LoadError, match=r"--loss .*:no_function: is not a function; name one that takes"
    ):
        loss_of(f"{functions}:no_function", None)
    with pytest.raises(LoadError, match="has no function missing"):
        metric_of(f"{functions}:missing", None)


def test_an_output_that_cannot_be_scored_is_said_with_a_way_out(functions: str) -> None:
    loss = loss_of(None, lambda batch: batch)
    assert loss is not None
    message = "the cross entropy: raised .*, for an output of class {}; give --loss and --metric"
    several = {"a": LOGITS, "b": LOGITS}
    for output, wanted in ((several, torch.tensor([0, 2])), (LOGITS, torch.tensor([3, 0]))):
        with pytest.raises(LoadError, match=message.format(type(output).__name__)):
            loss(output, wanted)
    words = metric_of(f"{functions}:words", None)
    assert words is not None
    with pytest.raises(LoadError, match=r"--metric .*:words: raised .* that return a number"):
        words(LOGITS, None)
