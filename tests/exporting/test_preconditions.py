from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bnconvert as bnc
from bnconvert.exporting.preconditions import require_exportable
from tests.zoo import build


def test_fixed_norms_may_be_deployed_also_of_a_model_in_training_mode() -> None:
    model, _ = build("plain")
    require_exportable(model)
    require_exportable(model.train())
    require_exportable(bnc.convert(model, bnc.Frozen()))


def test_a_norm_in_training_mode_inside_an_eval_model_is_refused() -> None:
    model, _ = build("plain")
    model.get_submodule("norm").train()
    with pytest.raises(bnc.ExportError, match="norm: in training mode inside an eval model"):
        require_exportable(model)


def test_a_norm_that_remembers_the_test_stream_is_refused() -> None:
    model, _ = build("plain")
    with pytest.raises(bnc.ExportError, match="norm: remember the test stream"):
        require_exportable(bnc.convert(model, bnc.Adaptive(over="stream")))


class Styled(nn.Module):
    """Normalizes each sample, as a batch of one, by F.batch_norm or by its formula."""

    def __init__(self, by_formula: bool) -> None:
        super().__init__()
        self.conv, self.by_formula = nn.Conv2d(3, 4, 1), by_formula

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        if self.by_formula:
            dims = (2, 3)
            var = y.var(dims, correction=0, keepdim=True)
            return (y - y.mean(dims, keepdim=True)) / (var + 1e-5).sqrt()
        joined = y.reshape(1, -1, y.shape[2], y.shape[3])
        return nn.functional.batch_norm(joined, None, None, training=True).view_as(y)


def test_batch_norm_without_running_statistics_is_refused_and_the_advice_works(
    tmp_path: Path,
) -> None:
    x, path = torch.randn(2, 3, 6, 6), tmp_path / "model.onnx"
    with pytest.raises(bnc.ExportError, match=r"0: calls F\.batch_norm without running statistics"):
        bnc.export(nn.Sequential(Styled(by_formula=False)).eval(), (x,), path)
    assert list(tmp_path.iterdir()) == []
    assert not bnc.export(nn.Sequential(Styled(by_formula=True)).eval(), (x,), path).failures
