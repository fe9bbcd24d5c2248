"""What is loaded when: people wait for imports."""

import subprocess
import sys
from collections.abc import Mapping

import pytest

#: What only an ONNX file needs: whoever trains or folds has it installed, and does not wait for it.
RUNTIME = ("onnx", "onnx_ir", "onnxruntime", "onnxscript", "onnxslim")
#: What a verb of the training side has no use for; each takes seconds to import.
SLOW = ("torch._dynamo", "torch._inductor", "rich", *RUNTIME)
#: Each on a tiny model, where b is the package.
VERBS = {
    "plan": "b.plan(model, b.Frozen())",
    "inspect": "b.inspect(model)",
    "convert": "b.convert(model, b.Frozen())",
    "revert": "b.revert(model)",
    "prepare": "b.prepare(model, b.Frozen())",
    "recompute_statistics": "b.recompute_statistics(model, [torch.randn(4, 3)])",
}
#: The same for those that write no file either, and capture the model or print.
FURTHER_VERBS = {
    "inspect": "b.inspect(model, (torch.randn(2, 3),))",
    "diagnose": "str(b.diagnose(model, 3 * [torch.randn(4, 3)]))",
    "fold": "str(b.fold(model.eval(), (torch.randn(2, 3),)).report)",
}


def loaded_after(code: str, *, before: str = "") -> set[str]:
    """Run code in a new process; return the modules that it loads beyond those of `before`."""
    script = f"import sys\n{before}\nbefore = {{*sys.modules}}\n{code}\n"
    script += "print('LOADED', *(sys.modules.keys() - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def each_without(verbs: Mapping[str, str], unwanted: tuple[str, ...]) -> str:
    """Write code that runs all verbs in one process: what none of them loads, each does not."""
    code = ["import bnconvert as b"]
    for name, call in verbs.items():
        code += ["model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))"]
        code += [call, f"assert not {{*{unwanted}}} & (sys.modules.keys() - before), '{name}'"]
    return "\n".join(code)


def test_importing_the_package_loads_no_runtime() -> None:
    assert not {*RUNTIME, "rich", "timm"} & loaded_after("import bnconvert")


def test_the_verbs_of_the_training_side_load_no_compiler_and_no_runtime() -> None:
    loaded = loaded_after(each_without(VERBS, SLOW), before="import torch")  # it may load some
    assert {"bnconvert.modules.survey", "bnconvert.statistics.recomputation"} <= loaded


def test_what_writes_no_file_loads_no_runtime() -> None:
    loaded = loaded_after(each_without(FURTHER_VERBS, RUNTIME), before="import torch")
    assert {"bnconvert.folding.folding", "bnconvert.diagnosis.diagnosis", "rich"} <= loaded


@pytest.mark.parametrize(
    "arguments", [["--help"], ["export", "--help"], ["--version"], ["explain", "BN202"], ["rules"]]
)
def test_what_needs_no_model_does_not_wait_for_torch(arguments: list[str]) -> None:
    code = (
        "from bnconvert.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as e: assert not e.code"
    )
    assert not {"torch", "onnx", "onnxruntime"} & loaded_after(code)
