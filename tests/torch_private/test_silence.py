import logging
import sys
import warnings

import pytest

from bnconvert.torch_private.silence import quiet


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
