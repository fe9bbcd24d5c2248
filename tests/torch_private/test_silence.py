import logging
import sys
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bnconvert.torch_private.silence import quiet, without_graph_prints


def test_prints_warnings_and_logs_are_silenced(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet():
        print("result")
        print("graph", file=sys.stderr)
        warnings.warn("cache", stacklevel=1)
        logging.getLogger("torch.onnx._internal").warning("missing")
    assert capsys.readouterr() == ("", "")
    assert not caplog.records


def test_everything_is_loud_again_after_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(RuntimeError), quiet():
        raise RuntimeError
    print("result")
    assert capsys.readouterr().out == "result\n"
    assert logging.getLogger("torch.onnx").level == level
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", stacklevel=1)


def test_a_failing_exporter_prints_no_graph_and_can_print_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Unknown(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.special.bessel_j0(x)
            return y

    def export() -> None:
        file = str(tmp_path / "file.onnx")
        with pytest.raises(Exception, match="bessel"), quiet():
            torch.onnx.export(Unknown(), (torch.ones(1),), file, dynamo=False)

    with without_graph_prints():
        export()
    assert capfd.readouterr().out == ""
    export()
    assert "Torch IR graph at exception" in capfd.readouterr().out
