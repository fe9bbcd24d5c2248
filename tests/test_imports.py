"""What is loaded when: people wait for imports."""

import subprocess
import sys

import pytest

#: What a verb of the training side has no use for; each takes seconds to import.
SLOW = ("torch._dynamo", "torch._inductor", "onnx", "onnxruntime", "onnxscript", "rich")
#: Each on a tiny model, where b is the package.
VERBS = {
    "plan": "b.plan(model, b.Frozen())",
    "inspect": "b.inspect(model)",
    "convert": "b.convert(model, b.Frozen())",
    "revert": "b.revert(model)",
    "prepare": "b.prepare(model, b.Frozen())",
    "recompute_statistics": "b.recompute_statistics(model, [torch.randn(4, 3)])",
}


def loaded_after(code: str, *, before: str = "") -> set[str]:
    """Run code in a new process; return the modules that it loads beyond those of `before`."""
    script = f"import sys\n{before}\nbefore = {{*sys.modules}}\n{code}\n"
    script += "print('LOADED', *(sys.modules.keys() - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_the_package_loads_no_runtime() -> None:
    assert not {"onnx", "onnxruntime", "onnxscript", "rich", "timm"} & loaded_after(
        "import bnconvert"
    )


def test_the_verbs_of_the_training_side_load_no_compiler_and_no_runtime() -> None:
    code = ["import bnconvert as b"]
    for name, call in VERBS.items():  # in one process: what none of them loads, each does not
        code += ["model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))"]
        code += [call, f"assert not {{*{SLOW}}} & (sys.modules.keys() - before), '{name}'"]
    loaded = loaded_after("\n".join(code), before="import torch")  # torch may load some itself
    assert {"bnconvert.modules.survey", "bnconvert.statistics.recomputation"} <= loaded


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["--version"]])
def test_help_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "from bnconvert.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as e: assert not e.code"
    )
    assert not {"torch", "onnx", "onnxruntime"} & loaded_after(code)
