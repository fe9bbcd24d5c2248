from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.diagnosis.evaluation import Evaluation
from tests.precise import statistics_of
from tests.zoo import Residual, trained


def test_the_same_data_are_run_by_three_sorts_of_statistics() -> None:
    x = torch.randn(40, 3) * 2 + 3
    norm = nn.BatchNorm1d(3)
    outputs: dict[int, list[Tensor]] = {}

    def score(output: Tensor, batch: Tensor) -> float:
        outputs.setdefault(len(batch), []).append(output)
        return float(output.square().mean())

    evaluation = Evaluation(norm, x.split([30, 10]), None, {"power": score, "nothing": None})
    evaluation.run()
    running, batch, precise = outputs[10]
    torch.testing.assert_close(running, x[30:] / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(batch, nn.functional.batch_norm(x[30:], None, None, training=True))
    mean, var = x.mean(0), x.var(0, correction=0)
    torch.testing.assert_close(precise, (x[30:] - mean) / (var + 1e-5).sqrt())
    assert list(evaluation.means()) == ["power"]
    assert evaluation.means()["power"]["precise"] == pytest.approx(1, rel=1e-3)
    assert evaluation.means()["power"]["batch"] == pytest.approx(1, rel=1e-3)
    assert evaluation.means()["power"]["running"] == pytest.approx(
        float(x.square().mean()), rel=1e-3
    )
    assert evaluation.samples == 40


def test_the_weight_of_the_initial_values_is_known() -> None:
    norm = nn.BatchNorm1d(3, momentum=0.1)
    for _ in range(3):
        norm(torch.randn(64, 3) * 3 + 2)
    data = [torch.randn(64, 3) * 3 + 2]
    evaluation = Evaluation(norm, data, None, {})
    evaluation.run()
    assert evaluation.initial == {"(root)": pytest.approx(0.9**3)}
    fresh = Evaluation(nn.BatchNorm1d(3), data, None, {})
    fresh.run()
    assert fresh.initial == {"(root)": 1.0}


def test_statistics_that_were_recomputed_have_no_initial_values_in_them() -> None:
    x = torch.randn(64, 3) * 3 + 2
    for norm in (nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=None)):
        bnc.recompute_statistics(norm, x.split(16))
        for data in (x, x * 0.6):
            evaluation = Evaluation(norm, [data], None, {})
            evaluation.run()
            assert evaluation.initial == {}


def test_a_model_that_lives_on_its_batches_is_told_so() -> None:
    """Batches of two domains: no single statistics fit, the batches' own do."""
    x = torch.cat([torch.randn(64, 3), torch.randn(64, 3) + 30])
    norm = nn.BatchNorm1d(3)
    bnc.recompute_statistics(norm, x.split(16))
    evaluation = Evaluation(
        norm, x.split(16), None, {"loss": lambda output, batch: output.mean().square()}
    )
    evaluation.run()
    assert any("the loss is better with the batches' own statistics" in n for n in evaluation.notes)


def test_few_samples_are_said_and_no_data_refused() -> None:
    evaluation = Evaluation(nn.BatchNorm1d(3), [torch.randn(4, 3)], None, {})
    evaluation.run()
    assert any("only 4 samples were read" in note for note in evaluation.notes)
    with pytest.raises(bnc.StatisticsError, match="batches gave no data"):
        Evaluation(nn.BatchNorm1d(3), [], None, {})
    with pytest.raises(bnc.StatisticsError, match="the model has no batch norm"):
        Evaluation(nn.ReLU(), [torch.randn(4, 3)], None, {})


def test_the_model_is_not_changed() -> None:
    model = trained(Residual()).train()
    before = statistics_of(model)
    evaluation = Evaluation(model, [torch.randn(8, 3, 8, 8)], None, {})
    evaluation.run()
    for path, pair in statistics_of(model).items():
        assert all(map(torch.equal, pair, before[path]))
    assert [row.against for row in evaluation.rows("batch")] == ["batch", "batch"]


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda x: {"boxes": x[:0], "x": x}, lambda batch: batch["x"]),
        (lambda x: SimpleNamespace(x=x), lambda batch: batch.x),
        (lambda x: [x.unbind(), "names"], lambda batch: torch.stack(batch[0])),
    ],
)
def test_the_samples_of_any_batch_are_counted(
    wrap: Callable[[Tensor], Any], unwrap: Callable[[Any], Tensor]
) -> None:
    batches = [wrap(x) for x in torch.randn(66, 3).split(11)]
    report = bnc.diagnose(
        nn.BatchNorm1d(3), batches, forward=lambda model, batch: model(unwrap(batch))
    )
    assert report.title == "BatchNorm1d: diagnosis over 66 samples"
    assert not any("samples were read" in note for note in report.notes)


def test_empty_batches_are_named() -> None:
    x = torch.randn(64, 3)
    report = bnc.diagnose(nn.BatchNorm1d(3), [x, x[:0], x])
    assert "left out, because they are empty: batch 1" in report.notes
    assert report.title.endswith("over 128 samples")
