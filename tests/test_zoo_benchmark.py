"""The comparison of the zoo: what is left out is said, and losses are counted like wins."""

from typing import Any

import pytest
import torch

from tests.benchmarks import conditions, graphs, rivals, zoo_page
from tests.benchmarks.rivals import BASE, OURS, SLIM


def row(name: str, nodes: dict[str, int], times: dict[str, list[float]], **facts: Any) -> Any:
    """Return a row as the comparison writes it."""
    graph = {"norms": 0, "arithmetic": 0, "convolutions": 1, "attention": 0, "size": 1000}
    columns = {
        column: {"graph": {**graph, "nodes": count}, "distance": 1e-7, "failure": ""}
        for column, count in nodes.items()
    }
    basics = {"model": name, "norms": 3, "own distance": 1e-7, "times": {"1": times}}
    return {**basics, "columns": columns, **facts}


ROWS = [
    row("timm:a", {BASE: 20, OURS: 10, SLIM: 12}, {OURS: [1.0, 1.1, 1.2], SLIM: [2.0, 2.1, 2.2]}),
    row("timm:b", {BASE: 20, OURS: 13, SLIM: 12}, {OURS: [2.0, 2.1, 2.2], SLIM: [1.0, 1.1, 1.2]}),
    row("timm:c", {BASE: 20, OURS: 12, SLIM: 12}, {OURS: [0.9, 1.0, 1.1], SLIM: [1.0, 1.0, 1.0]}),
]


def test_a_column_whose_package_is_missing_is_left_out_in_words() -> None:
    kept, told = conditions.without_missing((OURS, "other"), {"other": "no_such_package"})
    assert kept == [OURS]
    assert told == [
        "other is left out: no_such_package is not installed; pip install no_such_package"
    ]


def test_a_pair_counts_where_ours_is_better_alike_and_worse() -> None:
    line = next(line for line in zoo_page.by_pair(ROWS).splitlines() if SLIM in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == [f"{OURS} : {SLIM}", "3", "0.966", "1 / 1 / 1"]
    assert cells[5] == "1 / 1 / 1"


def test_losses_name_the_models() -> None:
    line = next(line for line in zoo_page.losses(ROWS).splitlines() if SLIM in line)
    assert "timm:b (13 for 12)" in line
    assert "timm:b (1.91, batch 1)" in line
    assert "timm:a" not in line


def test_what_failed_is_told_and_not_left_out() -> None:
    failed = row("timm:d", {BASE: 20}, {})
    failed["columns"][OURS] = {"graph": None, "failure": "no file"}
    assert f"| timm:d | {OURS} | no file |" in zoo_page.failures([failed])
    dead = {"model": "timm:e", "error": "took longer than 900 s"}
    assert "| timm:e |  | took longer than 900 s |" in zoo_page.per_model([*ROWS, dead])


def test_every_model_is_of_a_kind() -> None:
    assert zoo_page.kind_of(row("smp:Unet", {BASE: 1}, {})) == "segmentation, detection"
    assert zoo_page.kind_of(row("timm:a", {BASE: 1}, {}, norms=0)) == "no batch norm"
    assert zoo_page.kind_of(row("misc:a", {BASE: 1}, {}, trained=True)) == "trained weights"
    assert zoo_page.kind_of(ROWS[0]) == "convolutions"


def test_products_of_computed_values_are_attention(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    from bnconvert.graphs.example import Example

    class Attention(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.linear(x)
            return y @ y.transpose(1, 2)

    example = Example.of((torch.randn(2, 3, 4),))
    rivals.torch_onnx(Attention().eval(), example, tmp_path / "m.onnx")
    assert graphs.read(tmp_path / "m.onnx").attention == 1


def test_timmx_exports_timms_model_with_our_weights(tmp_path: Any) -> None:
    pytest.importorskip("timmx")
    from bnconvert.graphs.example import Example
    from tests.architectures.answers import outputs, worst_error
    from tests.architectures.zoo import BY_NAME
    from tests.benchmarks.running import OnnxRuntime

    model, inputs = BY_NAME["timm:test_resnet"].make()
    example = Example.of(inputs)
    rivals.timmx(model, example, tmp_path / "m.onnx")
    answers = OnnxRuntime(tmp_path / "m.onnx").run(example.tensors())
    assert worst_error(answers, outputs(model, example)) < 1e-5
    with pytest.raises(rivals.NotApplicableError):
        rivals.timmx(torch.nn.Sequential(model), example, tmp_path / "other.onnx")
