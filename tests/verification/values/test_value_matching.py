import pytest
import torch
from torch import Tensor, fx

from bnconvert.verification.values.dual_precision import DualPrecisionRun
from bnconvert.verification.values.expected_values import Expected
from bnconvert.verification.values.value_matching import FileValues, ValueMatches, match_values
from tests.verification.values.rows import EXAMPLE, go_on


def found_by(graph: fx.GraphModule, values: dict[str, Tensor]) -> ValueMatches:
    return match_values(graph, EXAMPLE, FileValues(values))


def titles(nodes: object) -> list[str]:
    return [str(node) for node in nodes]  # type: ignore[attr-defined]


def expected(exact: Tensor, allowed: float = 1e-6) -> Expected:
    node = fx.Graph().placeholder("x")
    return Expected(exact, {"norm": allowed, "peak": 4 * allowed}, node)


def test_values_are_found_by_their_numbers(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    found = found_by(graph, values)
    assert list(found.held.values()) == [["v0"], ["v1"], ["v2"], ["v3"]]
    assert not found.missing
    assert all(0 <= error < 1e-6 for error in found.errors.values())


def test_what_folding_moved_is_made_up_for_later(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    """A folded file has the norm's value where the convolution's should be."""
    del values["v0"]
    found = found_by(graph, values)
    assert not found.missing
    assert [names for names in found.held.values() if names] == [["v1"], ["v2"], ["v3"]]


def test_only_the_operator_that_is_wrong_is_missing(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    """The run goes on from the file's own numbers, so that what follows is right again."""
    go_on(graph, values, values["v1"] * 1.01)
    found = found_by(graph, values)
    (first, *_) = found.first_missing()
    assert str(first.node) == "batch_norm"
    assert (first.node, "v1") in [(near.node, name) for near, name in found.near]


def test_errors_are_local(graph: fx.GraphModule, values: dict[str, Tensor]) -> None:
    """A network that amplifies rounding does not make a right file wrong."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(values["v1"].shape, generator=generator) * 3e-7
    go_on(graph, values, values["v1"] * (1 + noise))
    found = found_by(graph, values)
    assert not found.missing
    assert found.errors["v3"] < 3e-7


def test_a_product_is_known_without_its_bias(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    """Another operator of the file may add it."""
    bias = graph.get_parameter("last.bias")
    values["bare"] = values.pop("v3") - bias[:, None, None]
    found = found_by(graph, values)
    assert "bare" in {name for names in found.held.values() for name in names}
    assert titles(found.without_bias) == ["conv2d_1"]


def test_the_nearest_value_is_a_wrong_version_and_no_stranger() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(3, 300, dtype=torch.float64, generator=generator)
    other = torch.randn(3, 300, generator=generator)
    values = FileValues({"other": other, "wrong": exact.float() * 1.01})
    assert values.holders(expected(exact)) == {}
    assert values.nearest(expected(exact)) == "wrong"
    assert FileValues({"other": other}).nearest(expected(exact)) is None


def test_of_another_shape_or_of_integers_no_value_is_near() -> None:
    values = FileValues({"y": torch.ones(3), "n": torch.ones(4, dtype=torch.long)})
    assert values.nearest(expected(torch.ones(5, dtype=torch.float64))) is None
    assert values.nearest(expected(torch.ones(5, dtype=torch.long))) is None
    assert values.nearest(expected(torch.ones(4, dtype=torch.long))) is None
    assert values.holders(expected(torch.ones(5, dtype=torch.float64))) == {}


def test_an_operator_is_rounded_otherwise_only_where_a_part_of_its_value_looks_wrong(
    graph: fx.GraphModule, values: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its runs decide whether the part is wrong, or off by chance."""
    rerun: list[str] = []
    plain = DualPrecisionRun._rerun

    def noted(run: DualPrecisionRun, node: fx.Node) -> list[Tensor]:
        rerun.append(str(node))
        return plain(run, node)

    monkeypatch.setattr(DualPrecisionRun, "_rerun", noted)
    assert not match_values(graph, EXAMPLE, FileValues(values), in_parts=True).missing
    assert rerun == []
    wrong = values["v1"].clone()
    wrong[:, 0] *= 1 + 1e-4
    go_on(graph, values, wrong)
    found = match_values(graph, EXAMPLE, FileValues(values), in_parts=True)
    assert titles(e.node for e in found.first_missing()) == ["batch_norm"]
    assert rerun[0] == "batch_norm"


def test_what_a_file_computes_on_rows_is_the_value_of_tokens(
    graph: fx.GraphModule, values: dict[str, Tensor]
) -> None:
    for name in ("v1", "v2"):
        values[name] = values[name].flatten(0, -2)
    found = found_by(graph, values)
    assert list(found.held.values()) == [["v0"], ["v1"], ["v2"], ["v3"]]
    assert not found.missing


def test_a_wrong_value_on_rows_is_near_and_other_matrices_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(3, 4, 60, dtype=torch.float64, generator=generator)
    rows = exact.float().flatten(0, 1) * 1.01
    values = FileValues({"columns": exact.float().flatten(1), "wrong": rows})
    assert values.holders(expected(exact)) == {}
    assert values.nearest(expected(exact)) == "wrong"
    assert FileValues({"columns": exact.float().flatten(1)}).nearest(expected(exact)) is None


def test_tokens_are_what_another_file_computes_on_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(12, 60, dtype=torch.float64, generator=generator)
    tokens = exact.float().unflatten(0, (3, 4))
    assert [*FileValues({"tokens": tokens}).holders(expected(exact))] == ["tokens"]
    other = exact.unflatten(0, (2, 6))  # no reshape from tokens to other tokens is right
    assert not FileValues({"tokens": tokens}).holders(expected(other))
