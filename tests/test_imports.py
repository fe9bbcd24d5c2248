"""What is loaded when: people wait for imports."""

import subprocess
import sys

import pytest


def loaded_after(code: str) -> set[str]:
    """Run `code` in a new process; return the top-level modules that it loaded."""
    script = f"import sys\n{code}\nprint('LOADED', *{{n.partition('.')[0] for n in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_the_package_loads_no_runtime() -> None:
    assert not {"onnx", "onnxruntime", "onnxscript", "rich", "timm"} & loaded_after(
        "import bnconvert"
    )


def test_using_the_training_side_loads_torch_only() -> None:
    code = "import torch, bnconvert as b; b.convert(torch.nn.BatchNorm2d(4), b.Frozen())"
    loaded = loaded_after(code)
    assert "torch" in loaded
    assert not {"onnx", "onnxruntime", "onnxscript", "rich"} & loaded


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["--version"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "from bnconvert.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as e: assert not e.code"
    )
    assert not {"torch", "onnx", "onnxruntime"} & loaded_after(code)
